"""How `poolctl ipam plan` is written: for people or as JSON and YAML."""

from collections.abc import Iterator
from typing import Any

from poolctl.ipam.capacity import Capacity
from poolctl.report import document
from poolctl.terminal import width, wrapped
from poolmgr.core.capacity import Fit
from poolmgr.core.config import DEFAULT_BLOCK_LIMIT

_INDENT = 16
_NEAR = 1
"""Where sizes are not told in a row each, these are told around those that matter."""
_HEADERS = (
    "BLOCKS", "IPS", "PER NODE", "AVAILABLE", "NODES", "PODS", "STRANDED", "FITS",
)  # fmt: skip


def rendered(found: Capacity, output: str) -> str:
    """Write a plan as "table", "wide", "json" or "yaml"."""
    if output in ("json", "yaml"):
        return document(_value(found), output)
    return "\n".join(_lines(found, wide=output == "wide"))


def _lines(found: Capacity, *, wide: bool) -> Iterator[str]:
    wanted, space = found.wanted, found.space
    name = f"{found.pool}, {space.pool}" if found.pool else f"{space.pool}, not stored"
    yield from _row("pool", name)
    yield from _row(
        "wanted",
        f"{_counted(wanted.nodes, 'node')}, {_counted(wanted.pods, 'pod')} each: "
        f"{_counted(wanted.nodes * wanted.pods, 'address')}",
    )
    yield from _row(
        "addresses",
        f"{space.pool.num_addresses:,}; reserved {space.reserved.count_in(space.pool):,}; kept "
        f"by prefix and gateway {space.withheld:,}, for main plugin {wanted.plugin}",
    )
    if found.pool:
        yield from _row(
            "now",
            f"{_counted(found.existing, 'block')} of /{found.own_size}, owned by "
            f"{_counted(found.owners, 'node')}",
        )
    yield from _row("block limit", _limit(found))
    yield from _row("strict affinity", _strictness(found))
    for note in found.notes:
        yield from _row("note", note)
    yield ""
    yield from _table(found, wide=wide)
    yield ""
    yield from _verdict(found)


def _limit(found: Capacity) -> str:
    limit = found.fits[0].goal.limit
    if limit is None:
        return "none"
    source = "the default" if found.config is None else "configured"
    if found.config is not None and not found.config.max_blocks_per_host:
        source = "the default"
    return f"{_counted(limit, 'block')} per node, {source}"


def _strictness(found: Capacity) -> str:
    if found.config is not None and found.config.strict_affinity:
        return "on: a node without a free block refuses pods"
    return "off: a node without a free block borrows; that is not counted on here"


def _table(found: Capacity, *, wide: bool) -> Iterator[str]:
    rows = [_cells(each) for each in found.fits]
    marks = [_mark(found, each) for each in found.fits]
    columns = list(zip(_HEADERS, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row, mark in zip([_HEADERS, *rows], ["", *marks], strict=True):
        first, *numbers, fits = (
            cell.rjust(width) for cell, width in zip(row, widths, strict=True)
        )
        cells = [first.strip().ljust(widths[0]), *numbers, fits.strip().ljust(widths[-1]), mark]
        lines.append("  ".join(cells).rstrip())
    if wide or max(map(len, lines)) <= width():
        yield from lines
        return
    near = _near(found)
    for at in near:  # IPv6 has numbers without end
        yield f"{rows[at][0]}{f'  {marks[at]}' if marks[at] else ''}"
        for header, cell in zip(_HEADERS[1:], rows[at][1:], strict=True):
            yield from _row(f"  {header.lower()}", cell)
    if left := len(rows) - len(near):
        yield f"and {_counted(left, 'other size')}: -o wide"


def _near(found: Capacity) -> list[int]:
    """Return the places of the sizes around those that are marked; of the best if none is."""
    places = range(len(found.fits))
    marked = [at for at in places if _mark(found, found.fits[at])]
    centres = marked or [max(places, key=lambda at: found.fits[at].nodes)]
    return [at for at in places if any(abs(at - each) <= _NEAR for each in centres)]


def _mark(found: Capacity, each: Fit) -> str:
    marks = {
        "now": each.size == found.own_size,
        "asked": found.given is each and each.size != found.own_size,
        "best": found.best is each,
    }
    return " ".join(word for word, applies in marks.items() if applies)


def _cells(each: Fit) -> tuple[str, ...]:
    fits = "yes" if each.fits else ("limit" if each.limited else "no")
    numbers = (
        each.addresses,
        each.per_node,
        each.available,
        each.nodes,
        each.nodes * each.goal.pods,
        each.stranded,
    )
    return f"/{each.size}", *(f"{number:,}" for number in numbers), fits


def _verdict(found: Capacity) -> Iterator[str]:
    chosen = found.given or found.best
    if chosen is None:
        yield from _row("DOES NOT FIT", "with no size of blocks; take a larger network")
        return
    if chosen.fits:
        yield from _row("fits", f"with blocks of /{chosen.size}; {_growth(chosen)}")
    else:
        yield from _row("DOES NOT FIT", f"with blocks of /{chosen.size}: {_why_not(chosen)}")
    if found.best is None:
        yield from _row("recommended", "a larger network: no size of blocks fits")
    elif found.best is not chosen or chosen is not found.given:
        yield from _row("recommended", f"blocks of /{found.best.size}: {found.why}")
    else:
        yield from _row("recommended", f"/{found.best.size} as given: {found.why}")


def _growth(each: Fit) -> str:
    goal = each.goal
    nodes, pods = each.nodes - goal.nodes, each.most_pods - goal.pods
    return (
        f"room for {_counted(nodes, 'more node')}, or for {_counted(pods, 'more pod')} on "
        f"each of the {goal.nodes:,}"
    )


def _why_not(each: Fit) -> str:
    goal = each.goal
    if each.limited:
        maximum = (goal.limit or 0) * each.addresses
        return (
            f"a node needs {each.per_node:,} of them and may own {goal.limit:,}, enough for "
            f"{maximum:,} pods; raise maxBlocksPerHost (poolctl ipam configure), which is "
            f"{DEFAULT_BLOCK_LIMIT} by default, or take larger blocks"
        )
    fit = f"{each.nodes:,} of the {_counted(goal.nodes, 'node')} can have that many pods"
    if each.most_pods:
        return f"{fit}, all of them {each.most_pods:,}"
    return f"{fit}; {_counted(each.available, 'block')} can be claimed"


def _counted(count: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("s") else f"{what}s"
    return f"{count:,} {what if count == 1 else plural}"


def _row(title: str, text: str) -> Iterator[str]:
    yield from wrapped(f"{title} ".ljust(_INDENT) + text, _INDENT)


def _value(found: Capacity) -> dict[str, Any]:
    space, best = found.space, found.best
    chosen = found.given or best
    return {
        "pool": {"name": found.pool or None, "cidr": str(space.pool)},
        "nodes": found.wanted.nodes,
        "podsPerNode": found.wanted.pods,
        "addresses": space.pool.num_addresses,
        "reserved": space.reserved.count_in(space.pool),
        "withheld": space.withheld,
        "mainPlugin": found.wanted.plugin,
        "blockSize": found.own_size,
        "blocks": found.existing,
        "owners": found.owners,
        "maxBlocksPerHost": found.fits[0].goal.limit,
        "strictAffinity": found.config is not None and found.config.strict_affinity,
        "fits": found.is_enough,
        "given": None if found.given is None else found.given.size,
        "recommended": None if best is None else {"blockSize": best.size, "reason": found.why},
        "growth": _growth_value(chosen) if chosen is not None and chosen.fits else None,
        "sizes": [_size_value(each) for each in found.fits],
        "notes": list(found.notes),
    }


def _growth_value(chosen: Fit) -> dict[str, int]:
    goal = chosen.goal
    return {"nodes": chosen.nodes - goal.nodes, "podsPerNode": chosen.most_pods - goal.pods}


def _size_value(each: Fit) -> dict[str, Any]:
    return {
        "blockSize": each.size,
        "addressesPerBlock": each.addresses,
        "blocksPerNode": each.per_node,
        "blocks": each.blocks,
        "blocksAvailable": each.available,
        "nodes": each.nodes,
        "pods": each.nodes * each.goal.pods,
        "stranded": each.stranded,
        "mostPodsPerNode": each.most_pods,
        "limited": each.limited,
        "fits": each.fits,
    }
