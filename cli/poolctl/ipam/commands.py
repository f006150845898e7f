"""The commands under `poolctl ipam`."""

import click

from poolctl.config import Session
from poolmgr.cidr import IPAddress, parse_address


def _address(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> IPAddress | None:
    return None if text is None else _parsed(text)


def _addresses(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> list[IPAddress]:
    return list(dict.fromkeys(map(_parsed, texts)))


def _parsed(text: str) -> IPAddress:
    try:
        return parse_address(text)
    except ValueError:
        raise click.BadParameter(f"invalid IP address {text!r}") from None


@click.group(no_args_is_help=False)
def ipam() -> None:
    """Look at addresses and blocks, and release addresses."""


@ipam.command()
@click.option("--show-blocks", is_flag=True, help="Count the blocks of each pool too.")
@click.option("--ip", "address", callback=_address, help="Tell who holds this address instead.")
@click.pass_obj
def show(session: Session, show_blocks: bool, address: IPAddress | None) -> int:
    """Count the addresses of all pools: in use, reserved, free."""
    from poolctl.ipam.show import show_address, show_usage

    if address is None:
        return show_usage(session, show_blocks=show_blocks)
    if show_blocks:
        raise click.UsageError("give either --ip or --show-blocks")
    return show_address(session, address)


@ipam.command()
@click.option(
    "--ip",
    "addresses",
    multiple=True,
    required=True,
    callback=_addresses,
    metavar="ADDRESS",
    help="May repeat.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def release(session: Session, addresses: list[IPAddress], yes: bool) -> int:
    """
    Release addresses, whoever holds them; sticky ones too.

    Whatever still uses such an address keeps doing so: make sure that nothing does.
    """
    from poolctl.ipam.release import release_addresses

    return release_addresses(session, addresses, yes=yes)
