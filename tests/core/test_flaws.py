"""What is known of the flaws."""

from poolmgr.core.flaws import CAUSES, Finding, Flaw


def test_of_every_flaw_a_cause_is_known():
    assert {*Flaw} == CAUSES.keys()


def test_a_finding_tells_its_cause_and_whether_there_is_a_remedy():
    too_high = Finding(Flaw.HANDLE_TOO_HIGH, "/key", "counts 2")
    corrupt = Finding(Flaw.CORRUPT, "/key", "not JSON")

    assert "Calico" in too_high.cause.left_by
    assert too_high.cause.remedy is not None
    assert corrupt.cause.remedy is None
