"""Seeded faults of what a step of a copy compares."""

from tests.support.mutant import Mutant

FILL, FILL_TESTS = "poolmgr/copies/fill.py", "tests/copies/test_fill.py"
RIVALS = "tests/copies/test_rivals.py"

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
        old="expect={MARKER_KEY: marker_revision, CLUSTER_KEY: _revision(cluster)},",
        new="expect={CLUSTER_KEY: _revision(cluster)},",
        node=f"{FILL_TESTS}::test_two_copies_that_begin_at_once_are_not_mixed",
        slow=True,
    ),
    Mutant(
        name="copy-overwrites-cluster",
        path=FILL,
        old="expect={MARKER_KEY: marker_revision, CLUSTER_KEY: _revision(cluster)},",
        new="expect={MARKER_KEY: marker_revision},",
        node=f"{FILL_TESTS}::test_a_change_of_the_cluster_that_overtakes_the_first_step_survives_it",
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
        old="puts = {MARKER_KEY: self._marker.encode(), EPOCH_KEY: self._new_epoch()}",
        new="puts = {MARKER_KEY: self._marker.encode(), EPOCH_KEY: epoch.value if epoch else b'e'}",
        node=f"{FILL_TESTS}::test_a_late_writer_of_the_old_epoch_fails",
        slow=True,
    ),
    Mutant(
        name="pools-stay",
        path=FILL,
        old="deletes = frozenset(key for key, _ in seen.ranges[_pools()].items)",
        new="deletes = frozenset()",
        node=f"{FILL_TESTS}::test_killed_at_any_commit_it_serves_nobody_and_goes_on",
        slow=True,
    ),
    Mutant(
        name="copy-blind-to-pools",
        path=FILL,
        old="return {_pools(): self._without_pools} if self._is_before_pools() else {}",
        new="return {}",
        node=f"{RIVALS}::test_what_pods_are_given_while_it_is_written_stays_or_its_loss_is_told",
        slow=True,
    ),
    Mutant(
        name="copy-goes-on-whatever-happened",
        path=FILL,
        old="            self._check_quiet(seen, found.mod_revision)",
        new="            pass",
        node=f"{RIVALS}::test_what_pods_are_given_after_it_was_killed_stays_or_its_loss_is_told",
        slow=True,
    ),
    Mutant(
        name="copy-mixed-with-what-came",
        path=FILL,
        old="dict.fromkeys(empty, seen.revision)",
        new="{}",
        node=f"{RIVALS}::test_what_comes_between_the_look_and_the_first_step_is_not_mixed_with_a_copy",
        slow=True,
    ),
    Mutant(
        name="writer-heeds-no-copy",
        path="cli/poolctl/resources/writing.py",
        old="{**txn.expect, MARKER_KEY: 0}",
        new="dict(txn.expect)",
        node="tests/poolctl/resources/test_writing.py::test_nothing_is_written_while_a_copy_is",
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
