"""The commands under `poolctl ipam`."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from poolctl.config import Session
from poolctl.options import dry_run_option, named_file, output_option, yes_option

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from poolmgr.cidr import IPAddress, IPNetwork

_INT32 = click.IntRange(-(2**31), 2**31 - 1)
_SECONDS = click.IntRange(0, 2**31 - 1)
_TRUE = ("1", "t", "T", "TRUE", "true", "True")
_FALSE = ("0", "f", "F", "FALSE", "false", "False")
"""As Go's strconv.ParseBool has them."""


def _address(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> "IPAddress | None":
    return None if text is None else _parsed(text)


def _addresses(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> "list[IPAddress]":
    return list(dict.fromkeys(map(_parsed, texts)))


def _parts(_context: click.Context, _argument: click.Parameter, number: int) -> int:
    if number < 2 or number & (number - 1):
        raise click.BadParameter(f"{number:,} is no power of two, such as 2, 4 or 8")
    return number


def _parsed(text: str) -> "IPAddress":
    from poolmgr.cidr import parse_address

    try:
        return parse_address(text)
    except ValueError:
        raise click.BadParameter(f"invalid IP address {text!r}") from None


def _cidr(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> "IPNetwork | None":
    from poolmgr.api.ippool import parse_cidr

    try:
        return None if text is None else parse_cidr(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r:.60} is not a network such as 10.10.0.0/16"
        ) from None


def _pools(
    context: click.Context, option: click.Parameter, texts: tuple[str, ...]
) -> tuple[str, ...]:
    """Write CIDRs in the canonical way; what is none is a name."""
    return tuple(str(_cidr(context, option, text)) if "/" in text else text for text in texts)


def _boolean(
    _context: click.Context, _option: click.Parameter, text: str | None
) -> bool | None:
    if text is not None and text not in (*_TRUE, *_FALSE):
        raise click.BadParameter(f"{text!r:.60} is neither true nor false")
    return None if text is None else text in _TRUE


@click.group(no_args_is_help=False)
def ipam() -> None:
    """Look at addresses and blocks, and release addresses."""


@ipam.command()
@click.argument("pools", nargs=-1, metavar="[POOL]...", callback=_pools)
@click.option("--ip", "address", callback=_address, help="Tell who holds this address.")
@click.option("--show-blocks", is_flag=True, help="Count the blocks of each pool too.")
@click.option(
    "--show-borrowed",
    is_flag=True,
    help="List addresses used on another node than their block.",
)
@click.option("--show-configuration", is_flag=True, help="Show the IPAM configuration.")
@output_option
@click.option(
    "-w",
    "--watch",
    is_flag=True,
    help="Show it again when something has changed, until interrupted or for --timeout.",
)
@click.pass_obj
def show(
    session: Session,
    /,
    pools: tuple[str, ...],
    address: "IPAddress | None",
    output: str,
    watch: bool,
    **what: bool,
) -> int:
    """
    Count the addresses of pools: in use, reserved, free.

    POOL is the name or the CIDR of a pool; all are counted where none is given. Reserved
    addresses may be in use; free ones are neither. In use are also addresses that cool down. Or
    show something else, by --ip or one of the options --show.

    \b
    Examples:
      poolctl ipam show
      poolctl ipam show --show-blocks 10.10.0.0/16
      poolctl ipam show --ip 10.10.0.5
      poolctl ipam show --show-borrowed -o json
    """
    given = ["--ip"] if address else []
    given += [f"--{name.replace('_', '-')}" for name in sorted(what) if what[name]]
    if len(given) > 1:
        raise click.UsageError(f"give either {' or '.join(given)}")
    if pools and given in (["--ip"], ["--show-configuration"]):
        raise click.UsageError(f"{given[0]} takes no pool")
    look = _look(session, pools, address, output, what)
    if not watch:
        return look()
    from poolctl.ipam.watch import watched

    return watched(session, look, output=output)


def _look(
    session: Session,
    pools: "Sequence[str]",
    address: "IPAddress | None",
    output: str,
    what: "Mapping[str, bool]",
) -> "Callable[[], int]":
    """Return what shows the answer."""
    if address:
        from poolctl.ipam.address import show_address

        return lambda: show_address(session, address, output=output)
    if what["show_configuration"]:
        from poolctl.ipam.configuration import show_configuration

        return lambda: show_configuration(session, output=output)
    if what["show_borrowed"]:
        from poolctl.ipam.borrowed import show_borrowed

        return lambda: show_borrowed(session, pools, output=output)
    from poolctl.ipam.show import show_usage

    blocks = what["show_blocks"]
    return lambda: show_usage(session, pools, show_blocks=blocks, output=output)


@ipam.command()
@click.option(
    "--strictaffinity",
    "strict_affinity",
    metavar="BOOL",
    callback=_boolean,
    help="Nodes use the addresses of their own blocks only.",
)
@click.option(
    "--auto-allocate-blocks",
    metavar="BOOL",
    callback=_boolean,
    help="Nodes claim blocks by themselves; false needs --strictaffinity true.",
)
@click.option(
    "--max-blocks-per-host",
    type=_INT32,
    metavar="N",
    help="Blocks of one family a node may own; needs --strictaffinity true. 0 = not set, which "
    "means 20; negative = no limit.",
)
@click.option(
    "--kubevirt-ip-persistence",
    "kubevirt_persistence",
    type=click.Choice(["Enabled", "Disabled"]),
    help="Whether virtual machines keep their addresses; for Calico's plugin.",
)
@click.option(
    "--ip-cooldown-seconds",
    "cooldown_s",
    type=_SECONDS,
    metavar="N",
    help="How long a released address rests. Not where Calico before 3.33 uses the same etcd.",
)
@click.pass_obj
def configure(session: Session, /, **fields: "bool | int | str | None") -> int:
    """
    Change the IPAM configuration; what is not named stays as it is.

    BOOL is true or false, or what else Go takes for it (1, t, T, TRUE, 0, f ...). Addresses
    that are assigned stay so, also where the new configuration would not allow them.

    \b
    Examples:
      poolctl ipam configure --strictaffinity true --max-blocks-per-host 4
      poolctl ipam configure --ip-cooldown-seconds 60
    """
    if all(value is None for value in fields.values()):
        raise click.UsageError("name at least one option")
    from poolctl.ipam import configuration

    return configuration.configure(session, fields)


@ipam.command()
@click.argument("number", type=int, callback=_parts)
@click.option("--cidr", callback=_cidr, help="The pool's CIDR.")
@click.option("--name", help="The pool's name.")
@click.option(
    "--keep-prefix",
    is_flag=True,
    help="Annotate the parts with the prefix length of the pool, for networks without a "
    "gateway of ours (macvlan, ipvlan).",
)
@click.option(
    "--keep-gateway",
    is_flag=True,
    help="Annotate the parts with the prefix length and the first address of the pool, for "
    "networks with a gateway (ptp, bridge as gateway).",
)
@dry_run_option
@yes_option
@click.pass_obj
def split(
    session: Session,
    /,
    number: int,
    cidr: "IPNetwork | None",
    name: str | None,
    **how: bool,
) -> int:
    """
    Put NUMBER smaller pools in place of one: 2, 4, 8 ... up to 64.

    The parts are called split-NAME-0, split-NAME-1 ... and have the spec, labels and
    annotations of the pool; those of a disabled pool are disabled. It happens in one
    transaction, while addresses are assigned and released: nothing has to be locked. Blocks and
    addresses stay as they are.

    An annotation that means the whole pool ("pool", "first-of-pool") is replaced by the prefix
    length or address that it meant. Where there is none, main plugins that take prefix and
    gateway from the pool would take those of a part: if such pods may be there, this asks. A
    network configuration that says "pool" or "first-of-pool" itself beats annotations: change
    it first. A bridge that is a gateway uses one IPv4 pool per node, and so one part only.

    \b
    Examples:
      poolctl ipam split 4 --name pool-a --dry-run
      poolctl ipam split 4 --cidr 10.10.0.0/16
      poolctl ipam split 4 --name pool-a --keep-gateway
    """
    if (cidr is None) == (name is None):
        raise click.UsageError("give either --cidr or --name")
    from poolctl.ipam.split import Wish, split_pool
    from poolmgr.core.split import Keep

    keep = Keep(prefix=how.pop("keep_prefix"), gateway=how.pop("keep_gateway"))
    wish = Wish(number=number, pool=cidr or name or "", keep=keep, **how)
    return split_pool(session, wish)


@ipam.command()
@click.option(
    "--show-all-ips", is_flag=True, help="Tell of every address; implies --show-problem-ips."
)
@click.option(
    "--show-problem-ips", is_flag=True, help="Tell of every problem, not of ten of each kind."
)
@click.option(
    "-o",
    "--output",
    "report",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a report in Calico's form, for `poolctl ipam release --from-report`.",
)
@click.option(
    "--kubeconfig",
    callback=named_file,
    type=click.Path(),
    metavar="FILE",
    help="Compare with the pods of this Kubernetes API; KUBECONFIG does the same.",
)
@click.pass_obj
def check(
    session: Session,
    show_all_ips: bool,
    show_problem_ips: bool,
    report: Path | None,
    kubeconfig: str | None,
) -> int:
    """
    Look for what is wrong: damage, leftovers, leaked addresses.

    Everything that is stored is checked as of one revision. With a Kubernetes API, addresses
    are compared with the pods themselves; without one, no address is called leaked. What could
    not be checked is said. Nothing is changed. Exit status 5 = something is wrong.

    \b
    Examples:
      poolctl ipam check
      poolctl ipam check --kubeconfig ~/.kube/config -o report.json
      poolctl ipam release --from-report report.json --dry-run --force
    """
    from poolctl.ipam.check import Options
    from poolctl.ipam.check import check as run

    options = Options(
        all_ips=show_all_ips, problems=show_problem_ips, report=report, kubeconfig=kubeconfig
    )
    return run(session, options)


@ipam.command()
@click.option(
    "--ip",
    "addresses",
    multiple=True,
    callback=_addresses,
    metavar="ADDRESS",
    help="Release this address; may repeat.",
)
@click.option(
    "--handle",
    "handles",
    multiple=True,
    metavar="HANDLE",
    help="Release all that this handle holds; may repeat.",
)
@click.option(
    "--from-report",
    "reports",
    multiple=True,
    type=click.Path(),
    metavar="FILE",
    help="Release what this report of `ipam check` calls leaked; may repeat, and then only "
    "what all reports agree on.",
)
@click.option(
    "--force",
    is_flag=True,
    help="With --from-report: although the datastore is not locked, or the report is of "
    "another version.",
)
@click.option(
    "--trust-calicoctl",
    is_flag=True,
    help="With --from-report: also addresses that poolmgr gave and only calicoctl calls "
    "leaked.",
)
@click.option("--dry-run", is_flag=True, help="Tell what would be released; release nothing.")
@yes_option
@click.pass_obj
def release(
    session: Session,
    /,
    addresses: "list[IPAddress]",
    handles: tuple[str, ...],
    reports: tuple[str, ...],
    **how: bool,
) -> int:
    """
    Release addresses, whoever holds them; sticky ones too.

    Whatever still uses such an address keeps doing so: make sure that nothing does. An address
    is taken only from the owner that is shown, or that the report names.

    calicoctl's reports call addresses leaked whose pods it does not know. Those that poolmgr
    gave are not released by such a report alone, unless --trust-calicoctl insists.

    \b
    Examples:
      poolctl ipam release --ip 10.10.0.5 --ip 10.10.0.6
      poolctl ipam release --handle net-a.0a1b2c --dry-run
      poolctl ipam release --from-report report.json
    """
    if sum(map(bool, (addresses, handles, reports))) != 1:
        raise click.UsageError("give one of --ip, --handle and --from-report")
    if reports:
        from poolctl.ipam.leaks import Manner, release_leaks

        return release_leaks(session, reports, Manner(**how))
    for name in ("force", "trust_calicoctl"):
        if how.pop(name):
            option = f"--{name.replace('_', '-')}"
            raise click.UsageError(f"{option} goes with --from-report")
    from poolctl.ipam.release import release_addresses, release_handles

    if handles:
        return release_handles(session, list(dict.fromkeys(handles)), **how)
    return release_addresses(session, addresses, **how)
