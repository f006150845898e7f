"""The commands under `poolctl ipam`."""

import click

from poolctl.config import Session
from poolmgr.cidr import IPAddress, parse_address


def _address(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> IPAddress | None:
    try:
        return None if text is None else parse_address(text)
    except ValueError:
        raise click.BadParameter(f"invalid IP address {text!r}") from None


@click.group(no_args_is_help=False)
def ipam() -> None:
    """Look at addresses and blocks."""


@ipam.command()
@click.option("--show-blocks", is_flag=True, help="Count the blocks of each pool too.")
@click.option("--ip", "address", callback=_address, help="Tell who holds this address instead.")
@click.pass_obj
def show(session: Session, show_blocks: bool, address: IPAddress | None) -> int:
    """Count the addresses of all pools: in use, reserved, free."""
    from poolctl.show import show_address, show_usage

    if address is None:
        return show_usage(session, show_blocks=show_blocks)
    if show_blocks:
        raise click.UsageError("give either --ip or --show-blocks")
    return show_address(session, address)
