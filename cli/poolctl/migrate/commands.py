"""The commands under `poolctl migrate`."""

from pathlib import Path

import click

from poolctl.config import Session


@click.group(no_args_is_help=False)
def migrate() -> None:
    """Move in from another IPAM."""


def _networks(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, str]:
    """Read OLD or OLD=NEW."""
    from poolmgr.cni.args import NAME, NAME_RULE

    networks: dict[str, str] = {}
    for text in texts:
        old, equals, new = text.partition("=")
        new = new if equals else old
        for name in (old, new):
            if not NAME.fullmatch(name):
                raise click.BadParameter(f"{name!r} is not a network name: {NAME_RULE}")
        if old in networks:
            raise click.BadParameter(f"{old} is given twice")
        networks[old] = new
    return networks


@migrate.command("host-local")
@click.option(
    "--data-dir",
    default="/var/lib/cni/networks",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Of the host-local plugin.",
)
@click.option(
    "--network",
    "networks",
    multiple=True,
    required=True,
    callback=_networks,
    metavar="OLD[=NEW]",
    help="Name of a network with host-local, and what it is called with poolmgr-ipam if that "
    "is not the same. May repeat.",
)
@click.option("--nodename", metavar="NAME", help="Of this node, if its netconf names it.")
@click.option(
    "--nodename-file", metavar="FILE", help="File that holds the name, as for the CNI plugin."
)
@click.option(
    "--apply", "-y", "--yes", is_flag=True, help="Import; else only tell what would be."
)
@click.pass_obj
def host_local(
    session: Session,
    data_dir: Path,
    networks: dict[str, str],
    nodename: str | None,
    nodename_file: str | None,
    apply: bool,
) -> int:
    """
    Import this node's leases of host-local.

    So running pods keep their addresses. Nothing is written without --apply, and nothing twice.
    Stop new pods from coming to the node while the network configuration changes. Exit status
    1: not all could be imported; each is named with the reason.

    \b
    Examples:
      poolctl migrate host-local --network routed
      poolctl migrate host-local --network old=routed --apply
    """
    from poolctl.migrate.leases import import_leases
    from poolmgr.cni.host import node_name

    node = node_name({"nodename": nodename or "", "nodename_file": nodename_file or ""})
    return import_leases(session, data_dir, networks, node=node, dry_run=not apply)
