"""The commands under `poolctl ipam` that calicoctl does not have."""

from pathlib import Path
from typing import Any

import click

from poolctl.config import Session
from poolctl.options import output_option
from poolmgr.cidr import IPAddress, IPNetwork, parse_address, parse_network


def _an_address(_context: click.Context, _param: click.Parameter, text: str) -> IPAddress:
    try:
        return parse_address(text)
    except ValueError:
        raise click.BadParameter(f"invalid IP address {text!r}") from None


def _a_block(
    _context: click.Context, _param: click.Parameter, text: str | None
) -> IPNetwork | None:
    try:
        return None if text is None else parse_network(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@click.argument("ip", callback=_an_address)
@click.option(
    "--block",
    metavar="CIDR",
    callback=_a_block,
    help="The block it lay in, where neither that nor its pool exist any more.",
)
@click.option(
    "--limit",
    type=click.IntRange(min=1),
    default=10_000,
    show_default=True,
    help="Revisions of the block to look at; each is a read.",
)
@output_option
@click.pass_obj
def history(
    session: Session, ip: IPAddress, block: IPNetwork | None, limit: int, output: str
) -> None:
    """
    Tell who held the address IP, oldest first.

    The answer is what etcd remembers. It forgets with every compaction, which Kubernetes asks
    for every five minutes. What is known since when is told on stderr. Times are those that
    were stored; nobody stores when an address without cooldown was released.

    \b
    Examples:
      poolctl ipam history 10.10.0.5
      poolctl ipam history 10.10.0.5 -o json
    """
    from poolctl.ipam.history import show_history

    if block is not None and ip not in block:
        raise click.UsageError(f"{ip} is not in {block}")
    show_history(session, ip, block=block, limit=limit, output=output)


_FORMS = {
    "": "text",
    ".txt": "text",
    ".text": "text",
    ".svg": "svg",
    ".html": "html",
    ".json": "json",
}
"""End of a file's name -> what is drawn in it."""


@click.command("map")
@click.argument("pools", metavar="[POOL]...", nargs=-1)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["text", "svg", "html", "json"]),
    help="What to draw: for a terminal, as a file for a report, or the data behind it. "
    "Without it, the end of FILE's name says so, or else text.",
)
@click.option(
    "-O",
    "--output-file",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write there, not to standard output.",
)
@click.pass_obj
def map_(
    session: Session, pools: tuple[str, ...], output: str | None, file: Path | None
) -> int:
    """
    Draw the address space: which block is whose, and how full.

    POOL is the name or the CIDR of a pool; all are drawn where none is given. Where a pool has
    more blocks than there is room, a cell stands for several of them. Borrowed addresses are
    used by other nodes than the block's; reserved are those of IPReservations, and what the
    annotations of a pool keep from pods. ADDRESSES of a node are those it uses anywhere, as in
    USED of poolctl node list, and those its blocks keep for sticky owners; none that cool down.

    The files of svg and html need nothing beside them, and tell about a cell under the pointer.

    \b
    Examples:
      poolctl ipam map
      poolctl ipam map pods
      poolctl ipam map -o svg > map.svg
      poolctl ipam map 10.244.0.0/16 -O report.html
    """
    from poolctl.ipam.map import show_map

    return show_map(session, pools, _form(output, file), file)


def _form(output: str | None, file: Path | None) -> str:
    """Return what to draw; the end of a file's name must not promise something else."""
    ending = file.suffix.lower() if file else ""
    if ending not in _FORMS:
        if output is None:
            raise click.UsageError(
                f"{file} does not end in {', '.join(filter(None, _FORMS))}: say which by -o"
            )
        return output
    form = _FORMS[ending]
    if output is not None and ending and output != form:
        raise click.UsageError(f"{file} is no name for {output}: say -o {form}")
    return output or form


@click.command()
@click.option("--node", required=True, metavar="NODE", help="The node that the pod runs on.")
@click.option("-n", "--namespace", default="", help="Of the pod.")
@click.option("--pod", default="", metavar="NAME", help="Its name.")
@click.option(
    "--annotations",
    metavar="FILE",
    help="Its annotations, or all of it, as YAML or JSON; - is standard input.",
)
@click.option(
    "-f", "--filename", "manifest", metavar="FILE", help="The pod as a manifest, or -."
)
@click.option(
    "--conf",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The network configuration, a .conflist or .conf file, or -.",
)
@output_option
@click.pass_obj
def explain(session: Session, /, output: str, conf: Path | None, **about: Any) -> int:
    """
    Tell which address a new pod would get, from which pool, and why.

    The plugin's own code serves an ADD whose writes are forgotten. Each pool is listed with the
    reason why it serves or not. Exit status 1: the ADD would be refused, as told.

    \b
    Examples:
      poolctl ipam explain --node node-a
      poolctl ipam explain --node node-a -f pod.yaml
      poolctl ipam explain --node node-a --conf /etc/cni/net.d/10-pods.conflist
      kubectl get pod web-0 -o json | poolctl ipam explain --node node-a -f -
    """
    from poolctl.ipam.explain import explain as explained
    from poolctl.ipam.explain_text import rendered
    from poolctl.ipam.subject import network_of, node_of, subject_of
    from poolctl.report import REFUSED

    if [str(conf), about["annotations"], about["manifest"]].count("-") > 1:
        raise click.UsageError("standard input (-) can be one file only")
    node = node_of(about.pop("node"))
    subject = subject_of(**about)
    network = None if conf is None else network_of(conf)
    found = explained(session, node, subject, network)
    click.echo(rendered(found, output))
    return REFUSED if found.code else 0


@click.command()
@click.option(
    "--nodes",
    required=True,
    type=click.IntRange(1, 1_000_000),
    help="In all, those that have blocks already among them.",
)
@click.option(
    "--pods-per-node",
    "pods",
    required=True,
    type=click.IntRange(1, 1_000_000),
    help="Addresses that each node needs at the same time.",
)
@click.option(
    "--pool",
    default="",
    metavar="POOL",
    help="Name of a pool, or a network, which need not be a pool yet.",
)
@click.option("--block-size", "size", type=int, metavar="LENGTH", help="Such as 26.")
@click.option("--family", type=click.Choice(["4", "6"]), help="Of the pool.")
@click.option(
    "--main-plugin",
    "plugin",
    type=click.Choice(["ptp", "bridge", "flat", "other"]),
    default="ptp",
    show_default=True,
    help="Whose prefix and gateway keep addresses from pods; other keeps none.",
)
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
    help="table leaves out block sizes where all would not fit.",
)
@click.pass_obj
def plan(session: Session, /, output: str, family: str | None, **wanted: Any) -> int:
    """
    Tell whether so many nodes and pods fit into a pool.

    And with which block size. Every node gets blocks of its own for all of its pods; borrowing
    is not counted on. STRANDED are addresses that stay unused in blocks of the planned nodes.
    Exit status 1: it does not fit.

    \b
    Examples:
      poolctl ipam plan --nodes 120 --pods-per-node 110 --pool 10.244.0.0/16
      poolctl ipam plan --nodes 120 --pods-per-node 110 --pool pods -o json
      poolctl ipam plan --nodes 9 --pods-per-node 30 --pool fd00::/112
    """
    from poolctl.ipam.capacity import Wanted, capacity
    from poolctl.ipam.capacity_text import rendered
    from poolctl.report import REFUSED

    asked = Wanted(family=int(family) if family else None, **wanted)
    found = capacity(session, asked)
    click.echo(rendered(found, output))
    return 0 if found.is_enough else REFUSED


COMMANDS: tuple[click.Command, ...] = (history, map_, explain, plan)
