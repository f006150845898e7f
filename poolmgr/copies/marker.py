"""The key that stands, while a copy is being written back, for what is done of it."""

import json
from dataclasses import asdict, dataclass

from poolmgr.copies.order import MARKER_KEY
from poolmgr.core.fields import checked, load
from poolmgr.errors import CorruptStateError

BEING_WRITTEN = "a copy is being written to this datastore, or was until that broke off"
HOW_TO_END = "run the same `poolctl datastore restore` or `import` again: it goes on, and ends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """
    What is being written, and how far it is.

    Attributes:
        copy: Digest of the copy.
        replaces: Whether what else is stored goes.
        after: The last key that is done; "" = none is.
        overtaken: Whether others, perhaps, assigned addresses meanwhile that are forgotten.
    """

    copy: str
    replaces: bool
    after: str = ""
    overtaken: bool = False

    def encode(self) -> bytes:
        """Write it."""
        return json.dumps(asdict(self)).encode()


def decode_marker(raw: bytes) -> Marker:
    """
    Read a marker.

    Raises:
        CorruptStateError: It is none.
    """
    value = load(MARKER_KEY, raw)
    try:
        return Marker(
            copy=checked(value.get("copy"), str),
            replaces=checked(value.get("replaces"), bool),
            after=checked(value.get("after"), str),
            overtaken=checked(value.get("overtaken", False), bool),
        )
    except TypeError as error:
        raise CorruptStateError(MARKER_KEY, f"not a marker ({error})") from error
