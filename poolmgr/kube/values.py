"""Values of annotations: text becomes addresses, families, pools and times. Pure."""

import json
import re
from collections.abc import Callable, Sequence

from poolmgr.cidr import IPAddress, parse_address, parse_network
from poolmgr.core.request import AddressRange

_FAMILY_WORDS = {"IPv4": 4, "IPv6": 6}
_CANDIDATES_LIMIT = 256  # each one is looked at while an ADD waits
_IDENTITY = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_DURATION = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|[dhms])", re.ASCII)
_UNITS_S = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_LONGEST_S = 100 * 366 * 86_400
_SHOWN = 200


def shown(text: str) -> str:
    """Return a text as messages show it: in quotes, on one line, cut when it is long."""
    quoted = json.dumps(text, ensure_ascii=False)[1:-1].replace('\\"', '"')
    return f"'{quoted}'" if len(quoted) <= _SHOWN else f"'{quoted[:_SHOWN]}'..."


def loads(text: str) -> object:
    """
    Read JSON.

    Raises:
        ValueError: It is none, or names a key twice.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error.msg} at column {error.colno}") from None


def _object(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key is given twice in one object")
    return value


def texts(value: object) -> list[str]:
    """
    Read a list of strings.

    Raises:
        ValueError: It is none.
    """
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError("it must be a JSON list of strings")
    return value


def families_of(value: object) -> tuple[int, ...]:
    """
    Read names of families.

    Raises:
        ValueError: There is none, or another word.
    """
    words = texts(value)
    for word in words:
        if word not in _FAMILY_WORDS:
            raise ValueError(f"{shown(word)} is not a family; families are IPv4 and IPv6")
    if not words:
        raise ValueError("it names no family; write IPv4, IPv6 or both")
    return tuple(sorted({_FAMILY_WORDS[word] for word in words}))


def pool(entry: str, family: int) -> str:
    """
    Read a pool's name, as it is, or its CIDR, without host bits.

    Raises:
        ValueError: It is neither, or of the other family.
    """
    if not entry:
        raise ValueError("must not contain an empty string; an empty list selects every pool")
    if "/" not in entry:
        return entry
    cidr = parse_network(entry, strict=False)
    if cidr.version != family:
        raise ValueError(
            f"must hold names or CIDRs of IPv{family} pools; {cidr} is IPv{cidr.version}"
        )
    return str(cidr)


def pools_of(family: int) -> Callable[[object], tuple[str, ...]]:
    """Return the reader of a list of pools of one family; [] = all of them."""
    return lambda value: tuple(pool(entry, family) for entry in texts(value))


def one_per_family(addresses: Sequence[IPAddress]) -> tuple[IPAddress, ...]:
    """
    Return addresses without repetition, IPv4 first.

    Raises:
        ValueError: There are two of a family.
    """
    found: dict[int, IPAddress] = {}
    for address in addresses:
        other = found.setdefault(address.version, address)
        if other != address:
            raise ValueError(
                f"{other} and {address} are both IPv{address.version}; "
                "an interface gets one address of a family"
            )
    return tuple(found[family] for family in sorted(found))


def addresses_of(value: object) -> tuple[IPAddress, ...]:
    """
    Read a list of addresses, one or two.

    Raises:
        ValueError: It is none, is empty, or names two of a family.
    """
    addresses = [parse_address(text) for text in texts(value)]
    if not addresses:
        raise ValueError("it names no address")
    return one_per_family(addresses)


def candidates_of(value: object) -> dict[int, tuple[AddressRange, ...]]:
    """
    Read addresses, ranges and CIDRs: a list, its JSON, or text with commas.

    Returns:
        Family -> ranges, in the order given.

    Raises:
        ValueError: It is nothing of that kind, or too long.
    """
    if isinstance(value, str):
        value = (
            loads(value)
            if value.lstrip().startswith("[")
            else [part.strip() for part in value.split(",")]
        )
    entries = texts(value)
    if not 1 <= len(entries) <= _CANDIDATES_LIMIT:
        raise ValueError(
            f"it has {len(entries)} entries; between 1 and {_CANDIDATES_LIMIT} are possible"
        )
    found: dict[int, tuple[AddressRange, ...]] = {}
    for text in entries:
        first, last = _range(text)
        found[first.version] = (*found.get(first.version, ()), (first, last))
    return found


def _range(text: str) -> AddressRange:
    if "/" in text:
        cidr = parse_network(text)
        return cidr[0], cidr[-1]
    start, dash, end = text.partition("-")
    first = parse_address(start.strip())
    last = parse_address(end.strip()) if dash else first
    if first.version != last.version or int(first) > int(last):
        raise ValueError(f"{shown(text)} is not a range: first and last, of one family")
    return first, last


def identity_of(value: object) -> str:
    """
    Read who keeps an address: "true", "false", or a name.

    Raises:
        ValueError: It is none of them.
    """
    text = str(value).lower() if isinstance(value, bool) else value
    if not isinstance(text, str) or not _IDENTITY.fullmatch(text):
        raise ValueError(
            'write "true", "false" or an identity: up to 63 lower-case letters, digits and -, '
            "a letter or digit first and last"
        )
    return text


def retention_of(value: object) -> tuple[int | None]:
    """
    Read how long an address is kept.

    Returns:
        Seconds, or None = for ever; in a tuple, since None alone means "not set".

    Raises:
        ValueError: It is no time, or one below a second.
    """
    if value == "forever":
        return (None,)
    text = value if isinstance(value, str) else ""
    parts = _DURATION.findall(text)
    seconds = sum(float(number) * _UNITS_S[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not (
        1 <= seconds <= _LONGEST_S
    ):
        raise ValueError(
            'write "forever" or a time such as "24h", "1h30m" or "7d", of a second or more'
        )
    return (int(seconds),)
