"""
Seeded faults: source patches, each with the test that must notice it.

Nobody knows of a test that always passed whether it can fail. Every mutant changes one place of
the product; `old` must occur exactly once in the file, so that a mutant cannot silently go
stale.
"""

from tests.copies_mutants import COPIES
from tests.planner_mutants import BLOCKS, PLANNER
from tests.support.mutant import Mutant

BLOCK, BLOCK_TESTS = "poolmgr/core/block.py", "tests/core/test_block.py"
RECORDS, RECORD_TESTS = "poolmgr/core/records.py", "tests/core/test_records.py"

MUTANTS = (
    # P1
    Mutant(
        name="extra-dropped",
        path="poolmgr/core/fields.py",
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
        old='released_at=optional(value.pop("releasedAt", None), str)',
        new='released_at=optional(value.pop("releasedAt", None) and None, str)',
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
    *BLOCKS,
    *COPIES,
)
