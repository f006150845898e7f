"""
The session fence: an ADD that its DEL has overtaken cannot commit any more.

Theory: an ADD whose answer got lost, or whose caller was killed, may commit after the DEL of
the same attachment has found nothing to release; its address would leak. Comparing blocks and
handles does not help: the late ADD may write to other keys. So each node has one key that every
DEL rewrites and every ADD compares.

Rules:

1. A DEL raises `n` by one and appends `<digest>@<n>`, also when it finds nothing to release.
2. An ADD keeps the `n` it saw first as `since`, and all its commits compare the key's revision.
3. When the key has moved, the ADD gives up if its own attachment was deleted after `since`, or
   if entries since then have been dropped from the list; any other change is adopted and the
   ADD planned again.
4. The key stays for good; were it deleted, two moments could look alike.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from poolmgr.core.request import AssignIP, Attachment, AutoAssign, Request

KEPT = 128
"""Deletions the key remembers; an ADD that has seen fewer than the last so many gives up."""

EVERY_ATTACHMENT = "*"
"""Digest that stands for all attachments of a node: garbage collection, host removal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """
    The value of a session key.

    Attributes:
        n: Deletions so far.
        deleted: "<digest>@<n>", oldest first, the last `KEPT` of them.
        extra: Stored fields unknown to us; they survive a rewrite.
    """

    n: int = 0
    deleted: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(default_factory=dict)

    def bump(self, digest: str) -> "Session":
        """Note the deletion of an attachment."""
        entry = f"{digest}@{self.n + 1}"
        return replace(self, n=self.n + 1, deleted=(*self.deleted, entry)[-KEPT:])

    def deleted_since(self, attachment: Attachment, since: int) -> bool:
        """Tell whether `attachment` was, or for all we know may have been, deleted since."""
        later = [entry for entry in self.deleted if _number(entry) > since]
        if len(later) < self.n - since:
            return True
        return any(
            entry.partition("@")[0] in (attachment.digest, EVERY_ATTACHMENT) for entry in later
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Attached:
    """
    What sticky addresses an attachment holds.

    Attributes:
        handle: Handle id of their owner.
        addresses: "<address>/<block>" each, for people.
        extra: Stored fields unknown to us; they survive a rewrite.
    """

    handle: str
    addresses: tuple[str, ...]
    extra: Mapping[str, object] = field(default_factory=dict)


def admit(
    requests: Sequence[Request], session_of: Callable[[str], Session | None]
) -> tuple[Request, ...]:
    """
    Fill in `since` where a request is looked at for the first time.

    Args:
        session_of: Host -> its session; None = not known yet.
    """
    return tuple(_admit(request, session_of) for request in requests)


def _admit(request: Request, session_of: Callable[[str], Session | None]) -> Request:
    if not isinstance(request, (AutoAssign, AssignIP)) or request.attachment is None:
        return request
    session = session_of(request.host) if request.since is None else None
    return request if session is None else replace(request, since=session.n)


def _number(entry: str) -> int:
    number = entry.rpartition("@")[2]
    return int(number) if number.isdecimal() and len(number) < 20 else 0
