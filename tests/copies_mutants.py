"""Seeded faults of what a step of a copy compares."""

from tests.support.mutant import Mutant

FILL, FILL_TESTS = "poolmgr/copies/fill.py", "tests/copies/test_fill.py"

COPIES = (
    Mutant(
        name="copy-overwrites-others",
        path=FILL,
        old="{key: present.get(key, 0) for key in keys},",
        new="{},",
        node=f"{FILL_TESTS}::test_a_key_that_somebody_else_wrote_meanwhile_is_left_alone",
    ),
    Mutant(
        name="copies-mixed",
        path=FILL,
        old="expect={MARKER_KEY: _revision(marker), CLUSTER_KEY: _revision(cluster)},",
        new="expect={CLUSTER_KEY: _revision(cluster)},",
        node=f"{FILL_TESTS}::test_two_copies_that_begin_at_once_are_not_mixed",
        slow=True,
    ),
    Mutant(
        name="copy-overwrites-cluster",
        path=FILL,
        old="expect={MARKER_KEY: _revision(marker), CLUSTER_KEY: _revision(cluster)},",
        new="expect={MARKER_KEY: _revision(marker)},",
        node=f"{FILL_TESTS}::test_a_cluster_that_somebody_makes_just_before_the_first_step_is_not_overwritten",
        slow=True,
    ),
    Mutant(
        name="copy-steps-twice",
        path=FILL,
        old="expect={**expect, MARKER_KEY: self._revision},",
        new="expect=expect,",
        node=f"{FILL_TESTS}::test_a_second_run_beside_the_first_does_no_harm",
        slow=True,
    ),
    Mutant(
        name="copy-keeps-epoch",
        path=FILL,
        old="puts = {MARKER_KEY: self._marker.encode(), EPOCH_KEY: self._epoch}",
        new="puts = {MARKER_KEY: self._marker.encode()}",
        node=f"{FILL_TESTS}::test_a_late_writer_of_the_old_epoch_fails",
        slow=True,
    ),
    Mutant(
        name="pools-stay",
        path=FILL,
        old="yield from self._steps(self._pools_away)",
        new="pass",
        node=f"{FILL_TESTS}::test_killed_at_any_commit_it_serves_nobody_and_goes_on",
        slow=True,
    ),
    Mutant(
        name="lock-overwrites",
        path="poolmgr/copies/identity.py",
        old="expect={CLUSTER_KEY: found.mod_revision if found else 0},",
        new="expect={},",
        node="tests/copies/test_identity.py::test_a_change_that_overtakes_a_lock_survives_it",
        slow=True,
    ),
)
