"""Seeded faults in what a transaction compares, and in what the loop does with an answer."""

from tests.support.mutant import Mutant, without

PLAN_TESTS = "tests/core/test_plan.py"
OVERTAKEN = f"{PLAN_TESTS}::test_p7_a_plan_fails_when_it_is_overtaken"
DECISIVE = f"{PLAN_TESTS}::test_p7_a_plan_fails_when_a_fact_changes_that_it_was_decided_on"
CLAIM = f"{PLAN_TESTS}::test_p7_a_claim_fails_when_it_is_overtaken"
GRANT, RELEASE = "poolmgr/core/grant.py", "poolmgr/core/release.py"
CLAIMS, EXISTING = "poolmgr/core/claim.py", "poolmgr/core/existing.py"
AFFINITIES, OWNERS = "poolmgr/core/affinities.py", "poolmgr/core/owners.py"
STICKY = "poolmgr/core/sticky.py"
ENSURE, ENSURED = "poolmgr/core/ensure.py", "tests/core/test_ensure.py"
P9 = (
    "tests/test_state_machine.py::"
    "test_p9_p10_no_sequence_of_calls_faults_and_deaths_breaks_a_promise"
)

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
        "tests/core/test_affinities.py::test_a_release_fails_when_an_address_of_the_block_is_assigned_meanwhile",
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
        "draft.compare(key)  # a label change may take the node out of a pool",
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
        "# The block may become ours before we call the affinity stale.\n        draft.compare(block_key)",
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
    Mutant(
        name="forced-unfenced",
        path=RELEASE,
        old="    if request.fence:\n",
        new="    if False:\n",
        node="tests/core/test_release.py::test_an_add_that_is_late_cannot_commit_after_a_release_by_force",
        slow=True,
    ),
    Mutant(
        name="forced-strangers",
        path=RELEASE,
        old="digest = EVERY_ATTACHMENT if attachment is None else attachment.digest",
        new="digest = attachment.digest if attachment else node",
        node="tests/core/test_release.py::test_an_owner_that_names_no_attachment_fences_its_whole_node",
        slow=True,
    ),
    without(
        "no-selector-compare",
        RELEASE,
        "draft.compare_range(POOLS)  # the selector may change",
        f"{OVERTAKEN}[a block given back, by another selector]",
    ),
    without(
        "left-blindly",
        AFFINITIES,
        "# The block may become that host's before its affinity goes.\n        draft.compare(records.block_key(cidr))",
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
        old="end(ticket, ticket.work.unknown or error)",
        new="end(ticket, error)",
        node="tests/test_ipam.py",
        slow=True,
    ),
    Mutant(
        name="swapped-replies",
        path="poolmgr/calls.py",
        old="for ticket, outcome in zip(waiting, decided.outcomes, strict=False):",
        new="for ticket, outcome in zip(waiting, reversed(decided.outcomes), strict=False):",
        node="tests/test_ipam.py",
        slow=True,
    ),
)

HOLDERS = "tests/core/test_claim.py"
RELEASED = "tests/core/test_affinities.py"
DEPENDS = f"{ENSURED}::test_a_claim_depends_on_what_it_was_decided_on"

# What is decided on the blocks of hosts, without an address or for the first one.
BLOCKS = (
    without(
        "stray-stale-blindly",
        CLAIMS,
        "draft.compare(block_key)  # the block may become ours before its affinity goes",
        f"{HOLDERS}::test_a_stale_affinity_in_a_strayed_pool_goes_alone",
    ),
    without(
        "other-size-blindly",
        CLAIMS,
        "draft.compare(block_key)  # it may be made before we call it stale",
        f"{HOLDERS}::test_an_affinity_for_a_block_of_another_size_is_dropped_and_the_block_not_made",
    ),
    Mutant(
        name="other-size-made",
        path=CLAIMS,
        old="if block is None and cidr.prefixlen != block_size:",
        new="if False:",
        node=f"{HOLDERS}::test_an_affinity_for_a_block_of_another_size_is_dropped_and_the_block_not_made",
        slow=True,
    ),
    Mutant(
        name="stray-used",
        path=CLAIMS,
        old="        if not block.empty:\n            return\n",
        new="",
        node=P9,
        slow=True,
    ),
    without(
        "reclaimed-blindly",
        EXISTING,
        "draft.delete(theirs)  # and if it is absent, it must not come back meanwhile",
        "tests/core/test_existing.py::test_an_empty_block_of_another_host_is_taken_over_before_any_is_borrowed_from",
    ),
    Mutant(
        name="reclaimed-in-use",
        path=EXISTING,
        old="if block.affinity == who.owner or not block.empty:",
        new="if block.affinity == who.owner:",
        node=P9,
        slow=True,
    ),
    Mutant(
        name="reclaimed-at-once",
        path=EXISTING,
        old="claimed_ns <= now_ns - RECLAIM_AGE_NS",
        new="claimed_ns <= now_ns",
        node="tests/core/test_existing.py::test_anothers_empty_block_can_be_taken_over_once_it_is_a_minute_old",
        slow=True,
    ),
    Mutant(
        name="numbers-repeated",
        path=EXISTING,
        old="number = max(taken.sequence_number, block.sequence_number + 1)",
        new="number = taken.sequence_number",
        node="tests/core/test_existing.py::test_a_block_taken_over_repeats_no_number_of_its_earlier_life",
        slow=True,
    ),
    Mutant(
        name="released-in-use",
        path=AFFINITIES,
        old="    if block.empty:\n        draft.delete",
        new="    if True:\n        draft.delete",
        node=P9,
        slow=True,
    ),
    Mutant(
        name="not-fenced",
        path=AFFINITIES,
        old="draft.session(host).bump(EVERY_ATTACHMENT)",
        new="draft.session(host)",
        node=f"{RELEASED}::test_forgetting_a_host_drops_calicos_note_of_it_and_fences_its_adds",
        slow=True,
    ),
    without(
        "claimed-blindly",
        AFFINITIES,
        "# The answer holds only while the block says so.\n    draft.compare(records.block_key(cidr))",
        f"{RELEASED}::test_what_is_said_of_an_existing_block_holds_only_while_it_is_as_it_was",
    ),
    without(
        "claimed-in-any-pools",
        AFFINITIES,
        "draft.compare_range(POOLS)  # the pool may be disabled, or edited",
        f"{RELEASED}::test_a_claim_fails_when_its_pool_is_edited_or_the_block_taken_meanwhile",
    ),
    without(
        "claimed-without-pool",
        AFFINITIES,
        "compare_pool(draft, pool.metadata.name)",
        f"{RELEASED}::test_a_claim_fails_when_its_pool_is_edited_or_the_block_taken_meanwhile",
    ),
    without(
        "ensured-blindly",
        ENSURE,
        "draft.compare(records.block_key(cidr))  # the answer holds while the block is the host's",
        f"{ENSURED}::test_the_answer_holds_only_while_the_block_is_the_hosts",
    ),
    *(
        without(f"ensured-by-another-{name}", ENSURE, line, f"{DEPENDS}[{change}]")
        for name, line, change in (
            (
                "config",
                "draft.compare(records.CONFIG_KEY)  # blocks may not be claimed by themselves any more",
                "configuration",
            ),
            (
                "node",
                "draft.compare(node)  # a label change may take the node out of a pool",
                "node",
            ),
            (
                "pool",
                "draft.compare_range(POOLS)  # a pool may be added, edited or disabled",
                "another pool",
            ),
            (
                "reservation",
                "draft.compare_range(RESERVATIONS)  # the block may become reserved",
                "reservation",
            ),
            ("choice", "compare_pool(draft, candidate.name)", "pool deleted"),
        )
    ),
    without(
        "collected-by-another-cooldown",
        OWNERS,
        "draft.compare(records.CONFIG_KEY)  # the cooldown decides what is free",
        "tests/core/test_owners.py::test_what_is_collected_depends_on_the_cooldown_that_was_read",
    ),
    Mutant(
        name="past-the-cap",
        path=GRANT,
        old="if len(have) + wanted <= request.max_per_handle:",
        new="if wanted <= request.max_per_handle:",
        node="tests/core/test_grant.py",
        slow=True,
    ),
    *(
        without(f"sticky-{name}", STICKY, line, f"tests/core/test_sticky.py::{node}")
        for name, line, node in (
            (
                "slot",
                "draft.compare(records.handle_key(handle))  # somebody may take the slot, or leave it",
                "test_an_add_depends_on_every_slot_it_looked_at",
            ),
            (
                "again",
                'draft.compare(key)  # the answer "you have it" holds only while it is so',
                "test_the_answer_of_a_repeated_add_depends_on_its_attachment",
            ),
            (
                "del",
                "draft.compare(key)  # an ADD may attach an address between our look and the fence",
                "test_a_del_of_nothing_depends_on_there_being_no_attachment",
            ),
            (
                "expiry",
                "draft.compare(records.CONFIG_KEY)  # the cooldown decides whether the address is free",
                "test_what_expires_depends_on_the_cooldown",
            ),
        )
    ),
)
