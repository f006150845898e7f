"""The commands under `poolctl node`."""

from pathlib import Path

import click

from poolctl.config import Session
from poolctl.report import say


@click.group(no_args_is_help=False)
def node() -> None:
    """Register this host, and install the CNI plugin on it."""


def _labels(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    labels = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{text!r} is not of the form key=value")
        labels[key] = value
    return labels


@node.command()
@click.argument("name", required=False)
@click.option(
    "-l",
    "--label",
    "labels",
    multiple=True,
    callback=_labels,
    metavar="KEY=VALUE",
    help="May repeat.",
)
@click.option(
    "--nodename-file", metavar="FILE", help="File that holds the name, as for the CNI plugin."
)
@click.pass_obj
def register(
    session: Session,
    name: str | None,
    labels: dict[str, str],
    nodename_file: str | None,
) -> None:
    """
    Create the Node resource NAME, or add labels to it.

    Without NAME it is the name that the CNI plugin uses on this host: what is in
    /var/lib/calico/nodename, or else the host's name in lower case.
    """
    from poolctl.changes import Changes
    from poolmgr.api import Node
    from poolmgr.api.meta import API_VERSION
    from poolmgr.cni.host import node_name

    naming = {"nodename": name or "", "nodename_file": nodename_file or ""}
    wanted = Node.from_manifest(
        {
            "apiVersion": API_VERSION,
            "kind": Node.kind,
            "metadata": {"name": node_name(naming), "labels": labels},
        }
    )
    say(f"{wanted.ref} {Changes(session).label(wanted)}")


@node.command()
@click.option(
    "--bin-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the container runtime looks for plugins, usually /opt/cni/bin.",
)
@click.option("--uninstall", is_flag=True, help="Remove the plugin instead.")
def install(bin_dir: Path, uninstall: bool) -> None:
    """Install the CNI plugin poolmgr-ipam on this host."""
    from poolctl import install as plugin

    paths = plugin.uninstall(bin_dir) if uninstall else plugin.install(bin_dir)
    for path in paths:
        say(f"{path} {'removed' if uninstall else 'installed'}")
