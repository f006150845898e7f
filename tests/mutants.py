"""
Seeded faults: source patches, each with the test that must notice it.

Nobody knows of a test that always passed whether it can fail. Every mutant changes one place of
the product; `old` must occur exactly once in the file, so that a mutant cannot silently go
stale.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """
    One fault.

    Attributes:
        name: What is broken, in a word or two.
        path: File to patch, from the repository's root.
        old: Text in it.
        new: What takes its place.
        node: Pytest node that must fail.
        slow: Whether it runs with --slow only.
    """

    name: str
    path: str
    old: str
    new: str
    node: str
    slow: bool = False


BLOCK, BLOCK_TESTS = "poolmgr/core/block.py", "tests/core/test_block.py"
RECORDS, RECORD_TESTS = "poolmgr/core/records.py", "tests/core/test_records.py"

PLAN_TESTS = "tests/core/test_plan.py"
OVERTAKEN = f"{PLAN_TESTS}::test_p7_a_plan_fails_when_it_is_overtaken"
DECISIVE = f"{PLAN_TESTS}::test_p7_a_plan_fails_when_a_fact_changes_that_it_was_decided_on"
CLAIM = f"{PLAN_TESTS}::test_p7_a_claim_fails_when_it_is_overtaken"
GRANT, RELEASE = "poolmgr/core/grant.py", "poolmgr/core/release.py"


def without(name: str, path: str, line: str, node: str, *, slow: bool = True) -> Mutant:
    """A mutant that leaves a compare out; `pass` takes its place."""
    return Mutant(name=name, path=path, old=line, new="pass", node=node, slow=slow)


# One for each line that makes a plan depend on something.
PLANNER = (
    without(
        "no-block-compare",
        "poolmgr/core/draft.py",
        "self.compare(key)  # closes the race of two writers of one key",
        f"{PLAN_TESTS}::test_p7_every_key_that_a_plan_touches_is_compared",
        slow=False,
    ),
    without(
        "no-compare-of-deleted",
        "poolmgr/core/draft.py",
        "self.compare(key)  # closes the race of deleting what somebody has just written",
        f"{OVERTAKEN}[a DEL, by another count in the handle]",
    ),
    without(
        "no-session-compare",
        GRANT,
        "draft.compare(session)  # a DEL of this attachment may overtake us",
        f"{DECISIVE}[a DEL passes]",
        slow=False,
    ),
    without(
        "no-handle-compare",
        GRANT,
        "draft.compare(records.handle_key(attachment.handle))  # a second ADD may be under way",
        f"{OVERTAKEN}[a repeated ADD, by a release of the handle]",
    ),
    without(
        "no-config-compare",
        GRANT,
        "draft.compare(records.CONFIG_KEY)  # strict affinity, limit or cooldown may change",
        f"{DECISIVE}[the configuration changes]",
    ),
    without(
        "no-pools-compare",
        GRANT,
        "draft.compare_range(POOLS)  # a pool may be added, edited or disabled",
        f"{DECISIVE}[a pool appears]",
    ),
    without(
        "no-reservation-compare",
        GRANT,
        "draft.compare_range(RESERVATIONS)  # an address may become reserved",
        f"{DECISIVE}[an address is reserved]",
    ),
    without(
        "no-pool-compare",
        GRANT,
        "draft.compare(key)  # deleting a pool leaves no newer key in the range",
        f"{DECISIVE}[the pool is deleted]",
    ),
    without(
        "no-node-compare",
        "poolmgr/core/assign.py",
        "draft.compare(node)  # a label change may take the node out of a pool",
        f"{DECISIVE}[the node changes]",
    ),
    without(
        "no-affinity-compare",
        "poolmgr/core/claim.py",
        "draft.compare_range(range_)  # a parallel claim could exceed the host's limit of blocks",
        f"{CLAIM}[the host claims another block]",
    ),
    without(
        "recreated-blindly",
        "poolmgr/core/claim.py",
        "draft.compare(key)  # somebody may be taking the affinity away",
        f"{OVERTAKEN}[a block made anew, by whoever takes its affinity]",
    ),
    without(
        "stale-blindly",
        "poolmgr/core/claim.py",
        "# The block may become ours before we call the affinity stale.\n        draft.compare(records.block_key(cidr))",
        f"{OVERTAKEN}[a stale affinity, by a change of the block]",
    ),
    without(
        "held-blindly",
        "poolmgr/core/held.py",
        '# "You have it" is true only while the block says so.\n        draft.compare(records.block_key(block.cidr))',
        f"{OVERTAKEN}[a repeated ADD, by a change of its block]",
    ),
    without(
        "no-cooldown-compare",
        RELEASE,
        "draft.compare(records.CONFIG_KEY)  # the cooldown decides whether the address is free",
        f"{OVERTAKEN}[a DEL, by another cooldown]",
    ),
    without(
        "deleted-blindly",
        RELEASE,
        "draft.compare(key)  # an ADD may land between our look and the fence",
        f"{OVERTAKEN}[a DEL of nothing, by its ADD]",
    ),
    Mutant(
        name="torn-facts",
        path="poolmgr/core/held.py",
        old="draft.need_since(records.handle_key(handle), *(",
        new="draft.need(*(",
        node=f"{PLAN_TESTS}::test_what_a_handle_says_is_not_judged_by_blocks_read_before_it",
        slow=True,
    ),
    without(
        "no-label-compare",
        RELEASE,
        'draft.compare(records.resource_key("nodes", host))  # the label may come back',
        f"{OVERTAKEN}[a block given back, by the label's return]",
    ),
    without(
        "no-selector-compare",
        RELEASE,
        "draft.compare_range(POOLS)  # the selector may change",
        f"{OVERTAKEN}[a block given back, by another selector]",
    ),
    without(
        "left-blindly",
        RELEASE,
        "# The block may become that host's before its affinity goes.\n            draft.compare(records.block_key(cidr))",
        f"{OVERTAKEN}[a pool left, by a change of a block that was another's]",
    ),
    Mutant(
        name="no-epoch-compare",
        path="poolmgr/store/memory.py",
        old="if (epoch.value if epoch else None) != txn.epoch:",
        new="if False:",
        node=f"{PLAN_TESTS}::test_p7_a_plan_fails_when_the_data_is_another",
        slow=True,
    ),
    Mutant(
        name="climbs-over",
        path="poolmgr/core/session.py",
        old="if len(later) < self.n - since:\n            return True\n        return any(",
        new="if len(later) < self.n - since:\n            return True\n        return False and any(",
        node="tests/core/test_grant.py::test_an_add_gives_up_when_its_own_attachment_was_deleted_after_its_first_look",
        slow=True,
    ),
    Mutant(
        name="half-dual-stack",
        path="poolmgr/core/assign.py",
        old="if first or request.attachment is not None:",
        new="if False:",
        node=f"{PLAN_TESTS}::test_a_refusal_keeps_nothing_of_the_family_that_was_granted",
        slow=True,
    ),
    Mutant(
        name="release-foreign",
        path="poolmgr/core/block.py",
        old='if attribute.owner != handle.partition("\\r")[0]:',
        new="if False:",
        node="tests/core/test_release.py::test_a_mismatch_leaves_the_whole_block_alone",
        slow=True,
    ),
    Mutant(
        name="masked-unknown",
        path="poolmgr/ipam.py",
        old="_end(ticket, ticket.work.unknown or error)",
        new="_end(ticket, error)",
        node="tests/test_ipam.py",
        slow=True,
    ),
    Mutant(
        name="swapped-replies",
        path="poolmgr/ipam.py",
        old="for ticket, outcome in zip(waiting, decided.outcomes, strict=False):",
        new="for ticket, outcome in zip(waiting, reversed(decided.outcomes), strict=False):",
        node="tests/test_ipam.py",
        slow=True,
    ),
)

MUTANTS = (
    # P1
    Mutant(
        name="extra-dropped",
        path=RECORDS,
        old="    return json.dumps({**value, **extra}, ",
        new="    return json.dumps({**value}, ",
        node=f"{RECORD_TESTS}::test_p1_unknown_fields_survive_a_rewrite",
    ),
    Mutant(
        name="owner-extra-dropped",
        path=RECORDS,
        old="return {**value, **attribute.extra}",
        new="return value",
        node=f"{RECORD_TESTS}::test_p1_unknown_fields_of_an_owner_survive_a_rewrite",
        slow=True,
    ),
    Mutant(
        name="released-at-lost",
        path=RECORDS,
        old='released_at=_optional(value.pop("releasedAt", None), str)',
        new='released_at=_optional(value.pop("releasedAt", None) and None, str)',
        node=f"{RECORD_TESTS}::test_p1_a_block_survives_being_stored",
        slow=True,
    ),
    # P2
    Mutant(
        name="ordinal-off-by-one",
        path="poolmgr/cidr.py",
        old="return int(address) - int(block.network_address)\n",
        new="return int(address) - int(block.network_address) + 1\n",
        node="tests/test_cidr.py::test_p2_ordinals_and_addresses_of_a_block_are_a_bijection",
    ),
    Mutant(
        name="one-past-the-end",
        path="poolmgr/cidr.py",
        old="if not 0 <= ordinal < block.num_addresses:",
        new="if not 0 <= ordinal <= block.num_addresses:",
        node="tests/test_cidr.py::test_p2_one_past_either_end_of_a_block_is_refused",
        slow=True,
    ),
    # P3
    Mutant(
        name="number-after-write",
        path=BLOCK,
        old="        allocations[ordinal] = index\n        numbers[ordinal] = block.sequence_number\n",
        new="        allocations[ordinal] = index\n        numbers[ordinal] = block.sequence_number + 1\n",
        node=f"{BLOCK_TESTS}::test_p3_assigned_free_and_cooling_add_up_after_any_operations",
    ),
    Mutant(
        name="freed-to-the-head",
        path=BLOCK,
        old="unallocated=(*block.unallocated, *ordinals),",
        new="unallocated=(*ordinals, *block.unallocated),",
        node=f"{BLOCK_TESTS}::test_p3_assigned_free_and_cooling_add_up_after_any_operations",
    ),
    Mutant(
        name="no-cooldown",
        path=BLOCK,
        old="return moment < now_ns - cooldown_s * 1_000_000_000",
        new="return moment < now_ns",
        node=f"{BLOCK_TESTS}::test_p3_assigned_free_and_cooling_add_up_after_any_operations",
        slow=True,
    ),
    # P4
    Mutant(
        name="attribute-not-pruned",
        path=BLOCK,
        old="used = {index for index in block.allocations if index is not None}",
        new="used = set(range(len(block.attributes)))",
        node=f"{BLOCK_TESTS}::test_p4_assign_then_release_gives_back_the_same_block",
    ),
    # P12
    Mutant(
        name="bad-range-end",
        path="poolmgr/core/txn.py",
        old="        if point < 0x10FFFF:\n",
        new="        if point < 0x110000:\n",
        node="tests/core/test_txn.py::test_prefix_end_raises_the_last_character_that_can_be_raised",
    ),
    # What is known
    Mutant(
        name="merge-by-mod-revision",
        path="poolmgr/core/snapshot.py",
        old="if key not in keys or keys[key].revision <= reading.revision:",
        new="if key not in keys or value is not None:",
        node="tests/core/test_snapshot.py::test_a_newer_absent_wins_over_an_older_value",
        slow=True,
    ),
    # What a transaction compares, and what the loop does with an answer
    *PLANNER,
)
