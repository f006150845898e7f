"""
What all pictures of the address space share: who is who, and how numbers are written.

Rules:

1. A node keeps its colour from run to run, unless another one comes that has the same.
2. Numbers are exact, however big.
"""

import hashlib
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from poolctl.report import printable
from poolmgr.core.atlas import Atlas, Plot, Tenant
from poolmgr.core.usage import Usage

PALETTE = 7
"""Colours of nodes: those of Okabe and Ito but for black."""

_LETTERS = string.ascii_uppercase + string.digits
NO_NODE, SEVERAL, UNLISTED = "-", "*", "#"
_DIGITS = 12
_NEAR = 1 << 40


@dataclass(frozen=True, slots=True)
class Look:
    """How a node is drawn: its letter, and its colour as a number below PALETTE."""

    letter: str
    colour: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Legend:
    """
    Who is who.

    Attributes:
        looks: Node -> its look; those that are not listed share a letter.
        listed: Nodes with a letter of their own, by name.
        more: How many there are beside these.
    """

    looks: dict[str, Look]
    listed: tuple[tuple[str, Tenant], ...]
    more: int

    def look(self, owners: Sequence[str | None]) -> Look:
        """Return how blocks of these owners are drawn, together; colour -1 = none."""
        if len(owners) > 1:
            return Look(SEVERAL, -1)
        return Look(NO_NODE, -1) if owners[0] is None else self.looks[owners[0]]


def legend_of(atlas: Atlas) -> Legend:
    """Give letters to the nodes with the most addresses, and colours to all."""
    names = [*atlas.tenants]
    busiest = sorted(names, key=lambda n: (-atlas.tenants[n].addresses, n))
    letters = dict(zip(sorted(busiest[: len(_LETTERS)]), _LETTERS, strict=False))
    taken: Counter[int] = Counter()
    looks = {}
    for name in sorted(names, key=lambda n: (n not in letters, n)):
        digest = int.from_bytes(hashlib.sha256(name.encode(errors="replace")).digest()[:8])
        colour = digest % PALETTE
        if name in letters:  # as many colours as can be, where there are few nodes
            colour = min(range(PALETTE), key=lambda c: (taken[c], (c - digest) % PALETTE))
            taken[colour] += 1
        looks[name] = Look(letters.get(name, UNLISTED), colour)
    return Legend(
        looks=looks,
        listed=tuple((name, atlas.tenants[name]) for name in letters),
        more=len(names) - len(letters),
    )


def number(value: int) -> str:
    """Write a number exactly, the biggest ones as a power of two and what is missing to it."""
    power = 1 << value.bit_length()
    for near in (power, power >> 1):
        rest = value - near
        if value >= 10**_DIGITS and abs(rest) < _NEAR:
            exponent = near.bit_length() - 1
            return f"2^{exponent}" + (
                f" {'-' if rest < 0 else '+'} {abs(rest):,}" if rest else ""
            )
    return f"{value:,}"


def plural(count: int, what: str, ending: str = "s") -> str:
    """Count something; many of it have an ending."""
    return f"{number(count)} {what}{'' if count == 1 else ending}"


def percent(count: int, total: int) -> str:
    """Write a share; only all is 100 %, and only nothing 0."""
    if 0 < count < total:
        whole = (200 * count + total) // (2 * total)
        return "<1%" if whole == 0 else ">99%" if whole == 100 else f"{whole}%"
    return "100%" if count else "0%"


def counts(usage: Usage, borrowed: int, cooling: int) -> str:
    """Tell the counts of a pool in a line."""
    details = ", ".join(
        f"{number(count)} {what}"
        for count, what in ((borrowed, "borrowed"), (cooling, "cooling down"))
        if count
    )
    parts = [f"{number(usage.in_use)} in use ({percent(usage.in_use, usage.total)})"]
    if details:
        parts[0] += f", of them {details}"
    if usage.reserved:
        share = percent(usage.reserved, usage.total)
        parts.append(f"{number(usage.reserved)} reserved ({share})")
    parts.append(f"{number(usage.free)} free ({percent(usage.free, usage.total)})")
    return f"{plural(usage.total, 'address', 'es')}: {'; '.join(parts)}"


def tell(plots: Iterable[Plot]) -> str:
    """Name the owners of blocks, the first few of them."""
    owners = [*dict.fromkeys(plot.owner for plot in plots)]
    named = ", ".join("no node" if o is None else printable(o) for o in owners[:3])
    return named + (f" and {len(owners) - 3:,} more" if len(owners) > 3 else "")
