"""Section 21: the selector grammar, row by row as Calico's own tests have it."""

import base64
import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from poolmgr.errors import InvalidRequestError
from poolmgr.selector import parse
from tests.behaviours.row import Row, each
from tests.support.poolctl import pool
from tests.support.world import stored_resource


@dataclass(frozen=True, slots=True)
class Rejected(Row):
    """What is no selector."""

    text: str


@dataclass(frozen=True, slots=True)
class Spelling(Row):
    """A selector of which only matters that it is read."""

    text: str


@dataclass(frozen=True, slots=True)
class Accepted(Row):
    """A selector, label sets that it matches, and label sets that it does not."""

    text: str
    matching: list[dict]
    others: list[dict]


@dataclass(frozen=True, slots=True)
class Canonical(Row):
    """A selector, its canonical form, and Calico's id of that; "" = not known."""

    text: str
    canonical: str
    uid: str = ""


ACCEPTED = (
    Accepted(
        "SL-001", 'a == "b"', [{"a": "b"}, {"a": "b", "c": "d"}], [{}, {"a": "c"}, {"c": "d"}]
    ),
    Accepted(
        "SL-002",
        'a == "b" && c == "d"',
        [{"a": "b", "c": "d"}],
        [{}, {"a": "b", "c": "e"}, {"a": "c", "c": "d"}, {"c": "d"}, {"a": "b"}],
    ),
    Accepted(
        "SL-003",
        'a == "b" || c == "d"',
        [{"a": "b", "c": "d"}, {"a": "b"}, {"c": "d"}],
        [{}, {"a": "e", "c": "e"}, {"c": "e"}, {"a": "e"}],
    ),
    Accepted(
        "SL-004",
        'a in {"\'", \'"\', "c"}',
        [{"a": "c"}, {"a": '"'}, {"a": "'"}],
        [{}, {"a": "e"}],
    ),
    Accepted(
        "SL-005",
        'a not in {"\'", \'"\', "c"}',
        [{}, {"a": "e"}],
        [{"a": "c"}, {"a": '"'}, {"a": "'"}],
    ),
    Accepted("SL-006", "a == 'a'", [{"a": "a"}], []),
    Accepted("SL-007", 'a == "a"', [{"a": "a"}], []),
    Accepted("SL-008", 'a != "b"', [{"a": "a"}], []),
    Accepted("SL-009", 'a != "a"', [{}], []),
    Accepted(
        "SL-010",
        'a contains "a"',
        [{"a": "a"}, {"a": "bab"}, {"a": "aaa", "b": "c"}],
        [{}, {"a": "b"}, {"b": "aaa"}],
    ),
    Accepted(
        "SL-011",
        'a starts with "a"',
        [{"a": "a"}, {"a": "abb"}, {"a": "aaa", "b": "c"}],
        [{}, {"a": "b"}, {"a": "baa"}, {"b": "aaa"}],
    ),
    Accepted(
        "SL-012",
        'a ends with "a"',
        [{"a": "a"}, {"a": "bba"}, {"a": "aaa", "b": "c"}],
        [{}, {"a": "b"}, {"a": "aab"}, {"b": "aaa"}],
    ),
    Accepted("SL-013", 'a in {"a"}', [{"a": "a"}], []),
    Accepted("SL-014", '!a in {"a"}', [{"a": "b"}], []),
    Accepted("SL-015", 'a in {"a", "b"}', [{"a": "a"}], []),
    Accepted("SL-016", 'a in {"a", "b"}', [{"a": "b"}], []),
    Accepted("SL-017", 'a not in {"d", "e"}', [{"a": "a"}], []),
    Accepted("SL-018", "has(a)", [{"a": "b"}], []),
    Accepted("SL-019", "!has(a)", [{"b": "b"}], []),
    Accepted("SL-020", "", [{}], []),
    Accepted("SL-021", " ", [{}], []),
    Accepted("SL-022", "", [{"a": "b"}], []),
    Accepted("SL-023", "all()", [{}], []),
    Accepted("SL-024", " all()", [{}], []),
    Accepted("SL-025", " all()", [{"a": "b"}], []),
    Accepted("SL-026", "global()", [{}], []),
    Accepted("SL-027", " global()", [{}], []),
    Accepted("SL-028", " global()", [{"a": "b"}], []),
    Accepted("SL-029", "a == 'a'", [], [{"a": "b"}]),
    Accepted("SL-030", "a == 'a'", [], [{}]),
    Accepted("SL-031", 'a != "a"', [], [{"a": "a"}]),
    Accepted("SL-032", "a != 'a'", [], [{"a": "a"}]),
    Accepted("SL-033", 'a in {"a"}', [], [{"a": "b"}]),
    Accepted("SL-034", 'a not in {"a"}', [], [{"a": "a"}]),
    Accepted("SL-035", 'a in {"a", "b"}', [], [{"a": "c"}]),
    Accepted("SL-036", "has(b)", [], [{"a": "b"}]),
    Accepted("SL-037", "!!has(b)", [], [{"a": "b"}]),
    Accepted("SL-038", "! has(a)", [], [{"a": "b"}]),
    Accepted("SL-039", "!has(a)", [], [{"a": "b"}]),
    Accepted("SL-040", "!!! has(a)", [], [{"a": "b"}]),
    Accepted("SL-041", "!!!has(a)", [], [{"a": "b"}]),
    Accepted("SL-042", "!! ! has(a)", [], [{"a": "b"}]),
    Accepted("SL-043", "! !!has(a)", [], [{"a": "b"}]),
    Accepted("SL-044", "a == 'a1' && b == 'b1'", [{"a": "a1", "b": "b1"}], []),
    Accepted("SL-045", "a == 'a1' && b != 'b1'", [], [{"a": "a1", "b": "b1"}]),
    Accepted("SL-046", "a != 'a1' && b == 'b1'", [], [{"a": "a1", "b": "b1"}]),
    Accepted("SL-047", "a != 'a1' && b != 'b1'", [], [{"a": "a1", "b": "b1"}]),
    Accepted("SL-048", "a != 'a1' && !b == 'b1'", [], [{"a": "a1", "b": "b1"}]),
    Accepted("SL-049", "!a == 'a1' && b == 'b1'", [], [{"a": "a1", "b": "b1"}]),
    Accepted("SL-050", "has(a) && !has(b)", [{"a": "a"}], []),
    Accepted("SL-051", "!has(b) && has(a)", [{"a": "a"}], []),
    Accepted("SL-052", "!(!has(a) || has(b))", [{"a": "a"}], []),
    Accepted("SL-053", "!(has(b) || !has(a))", [{"a": "a"}], []),
    Accepted("SL-054", "a == 'a1' || b == 'b1'", [{"a": "a1", "b": "b1"}], []),
    Accepted("SL-055", "a == 'a1' || b != 'b1'", [{"a": "a1", "b": "b1"}], []),
    Accepted("SL-056", "a != 'a1' || b == 'b1'", [{"a": "a1", "b": "b1"}], []),
    Accepted("SL-057", "a != 'a1' || b != 'b1'", [], [{"a": "a1", "b": "b1"}]),
    Accepted("SL-058", "! a == 'a1' || ! b == 'b1'", [], [{"a": "a1", "b": "b1"}]),
)

REJECTED = (
    Rejected("SL-059", "b == b"),
    Rejected("SL-060", "b contains b"),
    Rejected("SL-061", "b starts with b"),
    Rejected("SL-062", "b ends with b"),
    Rejected("SL-063", "'b1' == b"),
    Rejected("SL-064", "b"),
    Rejected("SL-065", "a b"),
    Rejected("SL-066", "!"),
    Rejected("SL-067", 'foo == "bar" &'),
    Rejected("SL-068", 'foo == "bar" |'),
    Rejected("SL-069", "foo != ||"),
    Rejected("SL-070", 'foo in {"", ||'),
    Rejected("SL-071", 'foo in ""'),
    Rejected("SL-072", '"FOO'),
    Rejected("SL-073", "\"FOO'"),
    Rejected("SL-074", '"FOO'),
    Rejected("SL-075", "'FOO"),
    Rejected("SL-076", "("),
    Rejected("SL-077", '(a == "foo"'),
    Rejected("SL-078", ")"),
    Rejected("SL-079", "()"),
    Rejected("SL-080", "%"),
    Rejected("SL-081", 'a == "b" && %'),
    Rejected("SL-082", 'a == "b" || %'),
    Rejected("SL-083", "a "),
    Rejected("SL-084", "has(foo) &&"),
    Rejected("SL-132", 'a not in "bar" && !has(foo) || b in c'),
    Rejected("SL-137", 'a  not  in  "bar"  &&  ! has( foo )  ||  b  in  c '),
    Rejected("SL-138", 'a notin"bar"&&!has(foo)||b in"c"'),
    Rejected("SL-146", "a" * 513 + ' == "value"'),
    Rejected("SL-147", 'label == "value'),
    Rejected("SL-148", "label == 'value"),
    Rejected("SL-149", 'label = "value"'),
    Rejected("SL-150", "all("),
    Rejected("SL-151", "global("),
    Rejected("SL-152", "has()"),
    Rejected("SL-153", "has(foo"),
    Rejected("SL-154", "has( foo "),
    Rejected("SL-155", 'a == "b" & has(foo)'),
    Rejected("SL-156", 'a == "b" | has(foo)'),
    Rejected("SL-157", 'label starts foo "value"'),
    Rejected("SL-158", 'label inf "value"'),
    Rejected("SL-159", 'label ends foo "value"'),
    Rejected("SL-160", 'label ends withs "value"'),
    Rejected("SL-161", 'label squiggles "value"'),
)

# The last eleven are the results of a rewriting of labels that poolmgr does not have, unrewritten.
CANONICAL = (
    Canonical("SL-085", "", "all()", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
    Canonical("SL-086", " all() ", "all()", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
    Canonical("SL-087", " (all() )", "all()", "s:5y5I3VdRZfDU01O--xXAPx2yxCQQqMf0M6IWug"),
    Canonical(
        "SL-088",
        "! (has( b)||! has(a ))",
        "!(has(b) || !has(a))",
        "s:Iss0uCleLYv1GSv_pNm7hAO58kE9jAx1NKyG3Q",
    ),
    Canonical(
        "SL-089",
        '! (a == "b"&&! c != "d")',
        '!(a == "b" && !c != "d")',
        "s:lh3haoY1ikTRkd4UZu0nWSaIBknYLPJLX16d-w",
    ),
    Canonical("SL-090", 'a == "\'"', 'a == "\'"'),
    Canonical("SL-091", "a == '\"'", "a == '\"'"),
    Canonical("SL-092", "a contains '\"'", "a contains '\"'"),
    Canonical("SL-093", 'a contains "\'"', 'a contains "\'"'),
    Canonical("SL-094", "a startswith '\"'", "a starts with '\"'"),
    Canonical("SL-095", 'a endswith "\'"', 'a ends with "\'"'),
    Canonical("SL-096", "a!='\"'", "a != '\"'"),
    Canonical("SL-097", 'a in {"d"}', 'a in {"d"}'),
    Canonical("SL-098", 'a in {"a", "b"}', 'a in {"a", "b"}'),
    Canonical("SL-099", 'a in {"d", "a", "b"}', 'a in {"a", "b", "d"}'),
    Canonical("SL-100", 'a in {"z", "x", "y", "a"}', 'a in {"a", "x", "y", "z"}'),
    Canonical("SL-101", 'a in {"z", "z", "x", "y", "x", "a"}', 'a in {"a", "x", "y", "z"}'),
    Canonical("SL-102", "k == 'v'", 'k == "v"'),
    Canonical("SL-103", "k != 'v'", 'k != "v"'),
    Canonical("SL-104", "k contains 'v'", 'k contains "v"'),
    Canonical("SL-105", "k starts with 'v'", 'k starts with "v"'),
    Canonical("SL-106", "k ends with 'v'", 'k ends with "v"'),
    Canonical("SL-107", "k == 'v' && x == 'y'", '(k == "v" && x == "y")'),
    Canonical("SL-108", "k == 'v' || has(x)", '(k == "v" || has(x))'),
    Canonical("SL-109", "!(k == 'v')", '!k == "v"'),
    Canonical("SL-110", "k in {'v'}", 'k in {"v"}'),
    Canonical("SL-111", "k not in {'v'}", 'k not in {"v"}'),
    Canonical(
        "SL-112",
        "!(!(k == 'v' && has(t) || all()) && (a in {'b', 'c'}))",
        '!(!((k == "v" && has(t)) || all()) && a in {"b", "c"})',
    ),
)

SPELLINGS = (
    Spelling("SL-113", 'a=="b"'),
    Spelling("SL-114", 'a!="b"'),
    Spelling("SL-115", 'a != "b"'),
    Spelling("SL-116", '(a=="b")'),
    Spelling("SL-117", 'a=="b"'),
    Spelling("SL-118", 'label == "value"'),
    Spelling("SL-119", 'label contains "value"'),
    Spelling("SL-120", 'contains contains "contains"'),
    Spelling("SL-121", "contains contains 'contains'"),
    Spelling("SL-122", 'label contains"value"'),
    Spelling("SL-123", 'label startswith "value"'),
    Spelling("SL-124", 'label endswith "value"'),
    Spelling("SL-125", 'label starts with "value"'),
    Spelling("SL-126", 'startswith starts with "value"'),
    Spelling("SL-127", 'label ends with "value"'),
    Spelling("SL-128", 'endswith ends with "value"'),
    Spelling("SL-129", 'label starts  with "value"'),
    Spelling("SL-130", 'label ends  with "value"'),
    Spelling("SL-131", "a" * 512 + ' == "value"'),
    Spelling("SL-133", "has(calico/k8s_ns)"),
    Spelling("SL-134", "has(calico/k8s_ns/role)"),
    Spelling("SL-135", "has(calico/k8s_NS-.1/role)"),
    Spelling("SL-136", 'calico/k8s_ns == "kube-system" && k8s-app == "kube-dns"'),
    Spelling("SL-139", "a not in {}"),
    Spelling("SL-140", 'a not in {"a"}'),
    Spelling("SL-141", 'a not in {"a","B"}'),
    Spelling("SL-142", "global()"),
    Spelling("SL-143", "global( )"),
    Spelling("SL-144", "all()"),
    Spelling("SL-145", "all( )"),
)

ROWS = (*ACCEPTED, *REJECTED, *CANONICAL, *SPELLINGS)


def name_of(row: Row, form: str = "given") -> str:
    """Name the pool of a row whose selector is as given, or in canonical form."""
    return f"{row.id.lower()}-{form}"


def pools(texts: dict[str, str]) -> str:
    """Write a pool for each node selector."""
    return json.dumps(
        [
            json.loads(pool(name, f"10.{at}.0.0/16", nodeSelector=text))
            for at, (name, text) in enumerate(texts.items())
        ]
    )


@pytest.fixture(scope="module")
def complaints(executable, shared_raw) -> dict[str, str]:
    """What poolctl says of each pool with what is no selector: row -> line."""
    shared_raw.delete_everything()
    wrong = {name_of(row): row.text for row in REJECTED}
    result = executable("create", "-f", "-", stdin=pools(wrong))

    assert ("", 1, {}) == (result.stdout, result.returncode, shared_raw.dump())
    lines = result.stderr.splitlines()
    return {row.id: line for row, line in zip(REJECTED, lines, strict=True)}


@dataclass(frozen=True, slots=True)
class Seen:
    """
    What becomes of pools with node selectors.

    Attributes:
        stored: Pool -> its node selector in etcd.
        serving: Labels of a node, as JSON -> pools that serve it, as `ipam explain` has them.
    """

    stored: dict[str, str]
    serving: dict[str, set[str]]


@pytest.fixture(scope="module")
def seen(executable, shared_raw) -> Seen:
    shared_raw.delete_everything()
    texts = {name_of(row): row.text for row in (*ACCEPTED, *SPELLINGS)}
    texts |= {name_of(row, "canonical"): str(parse(row.text)) for row in ACCEPTED}
    wanted = json.loads(pools(texts))
    # Pools with global() are refused, but another program may have stored one.
    foreign = [pool for pool in wanted if "global(" in pool["spec"]["nodeSelector"]]
    ours = [pool for pool in wanted if pool not in foreign]
    result = executable("create", "-f", "-", stdin=json.dumps(ours))
    assert ("", 0) == (result.stderr, result.returncode)
    for each_ in foreign:
        name, spec = each_["metadata"]["name"], each_["spec"]
        shared_raw.put(*stored_resource("ippools", "IPPool", name, spec))
    listed = json.loads(executable("get", "ippool", "-o", "json").stdout)["items"]
    stored = {pool["metadata"]["name"]: pool["spec"]["nodeSelector"] for pool in listed}
    sets = {json.dumps(labels) for row in ACCEPTED for labels in (*row.matching, *row.others)}
    for at, labels in enumerate(sets):
        node = stored_resource("nodes", "Node", f"node-{at}", {}, labels=json.loads(labels))
        shared_raw.put(*node)

    def serving(at: int) -> set[str]:
        told = executable("ipam", "explain", "--node", f"node-{at}", "-o", "json")
        judged = json.loads(told.stdout)["pools"]
        assert texts.keys() == {pool["name"] for pool in judged}
        return {pool["name"] for pool in judged if pool["rank"] is not None}

    with ThreadPoolExecutor(2) as crew:
        return Seen(stored, dict(zip(sets, crew.map(serving, range(len(sets))), strict=True)))


@pytest.mark.parametrize("form", ["given", "canonical"])
@each(ACCEPTED)
def test_pools_serve_nodes_with_these_labels_and_not_those(row, form, seen):
    serves = {
        labels: name_of(row, form) in seen.serving[labels]
        for labels in map(json.dumps, (*row.matching, *row.others))
    }

    assert [True] * len(row.matching) + [False] * len(row.others) == [*serves.values()]


@each(REJECTED)
def test_what_is_no_selector_is_refused(row, complaints):
    assert f"IPPool {name_of(row)}: spec.nodeSelector: " in complaints[row.id]
    with pytest.raises(InvalidRequestError, match="selector is wrong at character"):
        parse(row.text)


@each((*ACCEPTED, *SPELLINGS))
def test_a_selector_is_stored_as_it_is_written(row, seen):
    assert (row.text or "all()") == seen.stored[name_of(row)]
    assert str(parse(row.text)) == str(parse(str(parse(row.text))))


@each(CANONICAL)
def test_the_canonical_form_is_this(row):
    canonical = str(parse(row.text))

    assert row.canonical == canonical == str(parse(canonical))
    assert row.uid in ("", calicos_id(canonical))


def calicos_id(canonical: str) -> str:
    digest = hashlib.sha224(f"s:{canonical}".encode()).digest()
    return f"s:{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"
