"""The commands under `poolctl node`."""

from collections.abc import Mapping
from pathlib import Path

import click

from poolctl.config import Session
from poolctl.options import bin_dirs_option, conf_dir_option, output_option
from poolctl.report import say


@click.group(no_args_is_help=False)
def node() -> None:
    """Set up this host, and look after all nodes."""


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
@click.option(
    "--kubeconfig",
    metavar="FILE",
    help="Take the labels of the Kubernetes node NAME, those of --label added, and no others.",
)
@click.pass_obj
def register(
    session: Session,
    name: str | None,
    labels: dict[str, str],
    nodename_file: str | None,
    kubeconfig: str | None,
) -> None:
    """
    Create a Node resource, or label it.

    With --kubeconfig its labels become those of the Kubernetes node of that name.

    Without NAME it is the name that the CNI plugin uses on this host: what is in
    /var/lib/calico/nodename, or else the host's name in lower case.

    \b
    Examples:
      poolctl node register
      poolctl node register node-a -l rack=r1
      poolctl node register node-a --kubeconfig /etc/kubernetes/admin.conf
    """
    from poolctl.resources.changes import Changes
    from poolmgr.api import Node
    from poolmgr.api.meta import API_VERSION
    from poolmgr.cni.host import node_name

    named = node_name({"nodename": name or "", "nodename_file": nodename_file or ""})
    if kubeconfig is not None:
        labels = {**_kubernetes_labels(session, kubeconfig, named), **labels}
    wanted = Node.from_manifest(
        {
            "apiVersion": API_VERSION,
            "kind": Node.kind,
            "metadata": {"name": named, "labels": labels},
        }
    )
    say(f"{wanted.ref} {Changes(session).label(wanted, only=kubeconfig is not None)}")


def _kubernetes_labels(session: Session, kubeconfig: str, node: str) -> Mapping[str, str]:
    from poolmgr.kube.access import TIMEOUT_S, Access
    from poolmgr.kube.client import Kubernetes
    from poolmgr.nodes import kubernetes_labels

    timeout_s = min(TIMEOUT_S, session.left_s)
    kubernetes = Kubernetes(Access(kubeconfig=kubeconfig), timeout_s=timeout_s)
    try:
        return kubernetes_labels(kubernetes, node)
    finally:
        kubernetes.close()


@node.command()
@click.option(
    "--bin-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the container runtime looks for plugins, usually /opt/cni/bin.",
)
@click.option("--uninstall", is_flag=True, help="Remove the plugin instead.")
def install(bin_dir: Path, uninstall: bool) -> None:
    """
    Install the CNI plugin poolmgr-ipam on this host.

    \b
    Examples:
      poolctl node install --bin-dir /opt/cni/bin
      poolctl node install --bin-dir /opt/cni/bin --uninstall
    """
    from poolctl.node import install as plugin

    paths = plugin.uninstall(bin_dir) if uninstall else plugin.install(bin_dir)
    for path in paths:
        say(f"{path} {'removed' if uninstall else 'installed'}")


@node.command()
@click.option(
    "--conf",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The network configuration that the runtime uses.",
)
@click.option(
    "--cache-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Of the runtime's attachments; usually /var/lib/cni, for what multus delegates "
    "/var/lib/cni/multus.",
)
@click.option(
    "--after-reboot",
    is_flag=True,
    help="The node was rebooted: attachments whose network namespace is gone do not exist, nor "
    "any if the cache directory is gone.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be released.")
@click.pass_obj
def gc(
    session: Session, conf: Path, cache_dir: Path | None, after_reboot: bool, dry_run: bool
) -> None:
    """
    Release what containers that are gone still hold.

    These are containers of this node on a network that the runtime does not know any more.
    Addresses that were assigned within the last minute stay, and so do those of other nodes and
    networks. A sticky address stays its owner's until its retention is over.

    \b
    Examples:
      poolctl node gc --conf /etc/cni/net.d/10-net.conflist --dry-run
      poolctl node gc --conf /etc/cni/net.d/10-net.conflist --after-reboot
    """
    from poolctl.node.gc import collect

    collect(session, conf, cache_dir=cache_dir, after_reboot=after_reboot, dry_run=dry_run)


@node.command()
@conf_dir_option
@bin_dirs_option
@output_option
@click.pass_obj
def status(session: Session, conf_dir: Path, bin_dirs: tuple[Path, ...], output: str) -> int:
    """
    Tell how this node's networks get addresses.

    Exit status 5: something is wrong; what, and what to do, is part of the answer.

    \b
    Examples:
      poolctl node status
      poolctl node status --bin-dir /usr/lib/cni -o json
    """
    from poolctl.node.status import look
    from poolctl.node.status_text import rendered
    from poolctl.report import FOUND

    found = look(session, conf_dir, bin_dirs)
    click.echo(rendered(found, output))
    return 0 if found.is_fine else FOUND


@node.command()
@click.option(
    "-o",
    "--output",
    "file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="The archive to write, a .tar.gz; by default one named after host and time.",
)
@conf_dir_option
@bin_dirs_option
@click.pass_context
def diags(
    context: click.Context, file: Path | None, conf_dir: Path, bin_dirs: tuple[Path, ...]
) -> None:
    """
    Collect what a bug report needs in an archive.

    It holds versions, what doctor and node status say, network configurations, resources and
    counts, and no secrets: passwords, tokens and keys are masked. What cannot be read is in it
    as the error.

    \b
    Examples:
      poolctl node diags
      poolctl --timeout 120 node diags -o /tmp/diags.tar.gz
    """
    from poolctl.node.diags import write

    write(context, file, conf_dir, bin_dirs)
