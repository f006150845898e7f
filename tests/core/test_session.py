"""The session fence."""

from dataclasses import replace

import pytest

from poolmgr.core.request import AutoAssign, HeldBy
from poolmgr.core.session import EVERY_ATTACHMENT, KEPT, Session, admit
from tests.support.world import add, add_ip, attachment, delete

MINE, OTHER = attachment("mine"), attachment("other")


def after(*digests: str, start: Session | None = None) -> Session:
    session = start or Session()
    for digest in digests:
        session = session.bump(digest)
    return session


def test_every_deletion_is_counted_and_noted():
    assert Session(n=2, deleted=("a@1", "b@2")) == after("a", "b")


def test_only_the_last_deletions_are_remembered():
    session = after(*["x"] * (KEPT + 3))

    assert (KEPT + 3, KEPT) == (session.n, len(session.deleted))
    assert ("x@4", f"x@{KEPT + 3}") == (session.deleted[0], session.deleted[-1])


@pytest.mark.parametrize(
    ("session", "since", "deleted"),
    [
        pytest.param(Session(), 0, False, id="nothing deleted"),
        pytest.param(after(MINE.digest), 0, True, id="itself"),
        pytest.param(after(MINE.digest), 1, False, id="itself, but before the first look"),
        pytest.param(after(MINE.digest, OTHER.digest), 1, False, id="another since"),
        pytest.param(after(OTHER.digest, MINE.digest), 1, True, id="itself since"),
        pytest.param(after(EVERY_ATTACHMENT), 0, True, id="every attachment of the node"),
        pytest.param(after(EVERY_ATTACHMENT), 1, False, id="every attachment, but before"),
        pytest.param(after(*["x"] * KEPT), 0, False, id="as many as are remembered"),
        pytest.param(after(*["x"] * (KEPT + 1)), 0, True, id="one more than is remembered"),
        pytest.param(after(*["x"] * (KEPT + 1)), 1, False, id="the forgotten one was seen"),
        pytest.param(Session(n=1, deleted=("garbage",)), 0, True, id="entry without a number"),
        pytest.param(Session(n=1, deleted=(f"{MINE.digest}@",)), 0, True, id="empty number"),
    ],
)
def test_an_attachment_counts_as_deleted_when_that_cannot_be_ruled_out(session, since, deleted):
    assert deleted == session.deleted_since(MINE, since)


# The first look

SEVEN = Session(n=7)


def test_the_first_look_of_an_add_is_remembered():
    first, second = admit([add("c1"), add_ip("c2", "10.0.0.1")], lambda _: SEVEN)

    assert (7, 7) == (first.since, second.since)  # type: ignore[union-attr]


def test_a_later_look_changes_nothing():
    looked = replace(add("c1"), since=3)

    assert (looked,) == admit([looked], lambda _: SEVEN)


def test_a_session_that_is_not_known_yet_is_looked_at_later():
    assert (add("c1"),) == admit([add("c1")], lambda _: None)


def test_the_session_is_that_of_the_requests_host():
    sessions = {"node-a": Session(n=1), "node-b": Session(n=2)}

    admitted = admit([add("c1", "node-b"), add("c2", "node-a")], sessions.get)

    assert [2, 1] == [request.since for request in admitted]  # type: ignore[union-attr]


def test_only_an_add_of_an_attachment_is_fenced():
    requests = (
        AutoAssign(host="node-a", handle="h", count={4: 1}),
        delete("c1"),
        HeldBy(handle="h", attachment=MINE),
    )

    assert requests == admit(requests, lambda _: SEVEN)
