"""Every Hypothesis strategy of the tests, and how hard they try."""

import ipaddress
from collections.abc import Mapping

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from poolmgr.cidr import HOST_PREFIX, IPNetwork, network
from poolmgr.core.affinity import Affinity, AffinityState
from poolmgr.core.block import Attribute, Block
from poolmgr.core.config import IPAMConfig
from poolmgr.core.handle import Handle
from poolmgr.core.session import Session

QUICK = settings(deadline=None, max_examples=60)

_STATEFUL = settings(
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large),
)
MACHINE = settings(_STATEFUL, derandomize=True, max_examples=200, stateful_step_count=60)
MACHINE_LONG = settings(_STATEFUL, max_examples=600, stateful_step_count=100)
MACHINE_ON_ETCD = settings(_STATEFUL, derandomize=True, max_examples=8, stateful_step_count=40)

# Addresses and networks

families = st.sampled_from((4, 6))
ipv4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
# Without IPv4-mapped ones: their text depends on Python's version, and they are refused.
ipv6 = (
    st.integers(0, 2**128 - 1)
    .map(ipaddress.IPv6Address)
    .filter(lambda a: a.ipv4_mapped is None)
)
addresses = ipv4 | ipv6


@st.composite
def networks(draw: st.DrawFn, *, host_bits: tuple[int, int] = (0, 12)) -> IPNetwork:
    """A network of either family with so many host bits, least and most."""
    address = draw(addresses)
    bits = draw(st.integers(*host_bits))
    return network(address, max(0, HOST_PREFIX[address.version] - bits))


small_blocks = networks(host_bits=(0, 4))

# Stored values

texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
unknown_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
unknown_fields: st.SearchStrategy[Mapping[str, object]] = st.dictionaries(
    texts.map("future {}".format), unknown_values, max_size=2
)
owner_attributes = st.dictionaries(texts, texts, max_size=3)
attributes = st.builds(
    Attribute,
    handle=st.none() | texts,
    secondary=owner_attributes,
    alternate=owner_attributes,
    released_at=st.none() | st.just("2026-11-23T19:42:03Z"),
    extra=unknown_fields,
)
sequence_numbers = st.integers(0, 2**64 - 1)


@st.composite
def blocks(draw: st.DrawFn, *, cidrs: st.SearchStrategy[IPNetwork] = small_blocks) -> Block:
    """A block that keeps the invariants of core/block.py."""
    cidr = draw(cidrs)
    size = cidr.num_addresses
    owners = draw(st.lists(attributes, max_size=3, unique_by=repr))
    choices = [None, *range(len(owners))]
    drawn = draw(st.lists(st.sampled_from(choices), min_size=size, max_size=size))
    used = sorted({index for index in drawn if index is not None})
    allocations = tuple(None if index is None else used.index(index) for index in drawn)
    free = [ordinal for ordinal, index in enumerate(allocations) if index is None]
    taken = [ordinal for ordinal, index in enumerate(allocations) if index is not None]
    return Block(
        cidr=cidr,
        affinity=draw(st.none() | st.sampled_from(("host:node-a", "virtual:load-balancer"))),
        claimed_at=draw(st.none() | st.just("2026-11-23T19:13:16Z")),
        allocations=allocations,
        unallocated=tuple(draw(st.permutations(free))),
        attributes=tuple(owners[index] for index in used),
        sequence_number=draw(sequence_numbers),
        sequence_numbers={ordinal: draw(sequence_numbers) for ordinal in taken},
        extra=draw(unknown_fields),
    )


affinities = st.builds(Affinity, state=st.sampled_from(AffinityState), extra=unknown_fields)
handles = st.builds(
    Handle,
    blocks=st.dictionaries(networks(), st.integers(1, 2**16), min_size=1, max_size=3),
    extra=unknown_fields,
)
configs = st.builds(
    IPAMConfig,
    strict_affinity=st.booleans(),
    auto_allocate_blocks=st.booleans(),
    max_blocks_per_host=st.integers(-1, 40),
    kubevirt_persistence=st.none() | st.sampled_from(("Enabled", "Disabled")),
    cooldown_s=st.integers(-1, 86_400),
    extra=unknown_fields,
)
sessions = st.builds(
    Session,
    n=st.integers(0, 2**53),
    deleted=st.lists(texts.map("{}@7".format), max_size=3).map(tuple),
)

# Selectors

labels = st.sampled_from(("a", "b", "k8s.io/rack", "in", "has"))
_label_values = st.text("ab'-", max_size=3)
label_sets = st.dictionaries(labels, _label_values, max_size=3)
_comparisons = st.tuples(
    st.sampled_from(("==", "!=", "contains", "starts with", "ends with")), labels, _label_values
)
_memberships = st.tuples(
    st.sampled_from(("in", "not in")), labels, st.lists(_label_values, max_size=3)
)
selector_trees = st.recursive(
    _comparisons | _memberships | st.tuples(st.just("has"), labels) | st.just(("all",)),
    lambda inner: (
        st.tuples(st.just("!"), inner)
        | st.tuples(st.sampled_from(("&&", "||")), inner, inner)
        | st.tuples(st.sampled_from(("&&", "||")), inner, inner, inner)
    ),
    max_leaves=8,
)
"""Parsed selectors as nested tuples: an operator, then its operands."""
