"""The selector grammar, row by row as Calico's own tests have it, and P11."""

import pytest
from hypothesis import given

from poolmgr.errors import InvalidRequestError
from poolmgr.selector import parse
from tests.strategies import QUICK, label_sets, selector_trees

ACCEPTED = [
    pytest.param(
        'a == "b"',
        [{"a": "b"}, {"a": "b", "c": "d"}],
        [{}, {"a": "c"}, {"c": "d"}],
        id="SL-001",
    ),
    pytest.param(
        'a == "b" && c == "d"',
        [{"a": "b", "c": "d"}],
        [{}, {"a": "b", "c": "e"}, {"a": "c", "c": "d"}, {"c": "d"}, {"a": "b"}],
        id="SL-002",
    ),
    pytest.param(
        'a == "b" || c == "d"',
        [{"a": "b", "c": "d"}, {"a": "b"}, {"c": "d"}],
        [{}, {"a": "e", "c": "e"}, {"c": "e"}, {"a": "e"}],
        id="SL-003",
    ),
    pytest.param(
        'a in {"\'", \'"\', "c"}',
        [{"a": "c"}, {"a": '"'}, {"a": "'"}],
        [{}, {"a": "e"}],
        id="SL-004",
    ),
    pytest.param(
        'a not in {"\'", \'"\', "c"}',
        [{}, {"a": "e"}],
        [{"a": "c"}, {"a": '"'}, {"a": "'"}],
        id="SL-005",
    ),
    pytest.param("a == 'a'", [{"a": "a"}], [], id="SL-006"),
    pytest.param('a == "a"', [{"a": "a"}], [], id="SL-007"),
    pytest.param('a != "b"', [{"a": "a"}], [], id="SL-008"),
    pytest.param('a != "a"', [{}], [], id="SL-009"),
    pytest.param(
        'a contains "a"',
        [{"a": "a"}, {"a": "bab"}, {"a": "aaa", "b": "c"}],
        [{}, {"a": "b"}, {"b": "aaa"}],
        id="SL-010",
    ),
    pytest.param(
        'a starts with "a"',
        [{"a": "a"}, {"a": "abb"}, {"a": "aaa", "b": "c"}],
        [{}, {"a": "b"}, {"a": "baa"}, {"b": "aaa"}],
        id="SL-011",
    ),
    pytest.param(
        'a ends with "a"',
        [{"a": "a"}, {"a": "bba"}, {"a": "aaa", "b": "c"}],
        [{}, {"a": "b"}, {"a": "aab"}, {"b": "aaa"}],
        id="SL-012",
    ),
    pytest.param('a in {"a"}', [{"a": "a"}], [], id="SL-013"),
    pytest.param('!a in {"a"}', [{"a": "b"}], [], id="SL-014"),
    pytest.param('a in {"a", "b"}', [{"a": "a"}], [], id="SL-015"),
    pytest.param('a in {"a", "b"}', [{"a": "b"}], [], id="SL-016"),
    pytest.param('a not in {"d", "e"}', [{"a": "a"}], [], id="SL-017"),
    pytest.param("has(a)", [{"a": "b"}], [], id="SL-018"),
    pytest.param("!has(a)", [{"b": "b"}], [], id="SL-019"),
    pytest.param("", [{}], [], id="SL-020"),
    pytest.param(" ", [{}], [], id="SL-021"),
    pytest.param("", [{"a": "b"}], [], id="SL-022"),
    pytest.param("all()", [{}], [], id="SL-023"),
    pytest.param(" all()", [{}], [], id="SL-024"),
    pytest.param(" all()", [{"a": "b"}], [], id="SL-025"),
    pytest.param("global()", [{}], [], id="SL-026"),
    pytest.param(" global()", [{}], [], id="SL-027"),
    pytest.param(" global()", [{"a": "b"}], [], id="SL-028"),
    pytest.param("a == 'a'", [], [{"a": "b"}], id="SL-029"),
    pytest.param("a == 'a'", [], [{}], id="SL-030"),
    pytest.param('a != "a"', [], [{"a": "a"}], id="SL-031"),
    pytest.param("a != 'a'", [], [{"a": "a"}], id="SL-032"),
    pytest.param('a in {"a"}', [], [{"a": "b"}], id="SL-033"),
    pytest.param('a not in {"a"}', [], [{"a": "a"}], id="SL-034"),
    pytest.param('a in {"a", "b"}', [], [{"a": "c"}], id="SL-035"),
    pytest.param("has(b)", [], [{"a": "b"}], id="SL-036"),
    pytest.param("!!has(b)", [], [{"a": "b"}], id="SL-037"),
    pytest.param("! has(a)", [], [{"a": "b"}], id="SL-038"),
    pytest.param("!has(a)", [], [{"a": "b"}], id="SL-039"),
    pytest.param("!!! has(a)", [], [{"a": "b"}], id="SL-040"),
    pytest.param("!!!has(a)", [], [{"a": "b"}], id="SL-041"),
    pytest.param("!! ! has(a)", [], [{"a": "b"}], id="SL-042"),
    pytest.param("! !!has(a)", [], [{"a": "b"}], id="SL-043"),
    pytest.param("a == 'a1' && b == 'b1'", [{"a": "a1", "b": "b1"}], [], id="SL-044"),
    pytest.param("a == 'a1' && b != 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-045"),
    pytest.param("a != 'a1' && b == 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-046"),
    pytest.param("a != 'a1' && b != 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-047"),
    pytest.param("a != 'a1' && !b == 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-048"),
    pytest.param("!a == 'a1' && b == 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-049"),
    pytest.param("has(a) && !has(b)", [{"a": "a"}], [], id="SL-050"),
    pytest.param("!has(b) && has(a)", [{"a": "a"}], [], id="SL-051"),
    pytest.param("!(!has(a) || has(b))", [{"a": "a"}], [], id="SL-052"),
    pytest.param("!(has(b) || !has(a))", [{"a": "a"}], [], id="SL-053"),
    pytest.param("a == 'a1' || b == 'b1'", [{"a": "a1", "b": "b1"}], [], id="SL-054"),
    pytest.param("a == 'a1' || b != 'b1'", [{"a": "a1", "b": "b1"}], [], id="SL-055"),
    pytest.param("a != 'a1' || b == 'b1'", [{"a": "a1", "b": "b1"}], [], id="SL-056"),
    pytest.param("a != 'a1' || b != 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-057"),
    pytest.param("! a == 'a1' || ! b == 'b1'", [], [{"a": "a1", "b": "b1"}], id="SL-058"),
]

REJECTED = [
    pytest.param("b == b", id="SL-059"),
    pytest.param("b contains b", id="SL-060"),
    pytest.param("b starts with b", id="SL-061"),
    pytest.param("b ends with b", id="SL-062"),
    pytest.param("'b1' == b", id="SL-063"),
    pytest.param("b", id="SL-064"),
    pytest.param("a b", id="SL-065"),
    pytest.param("!", id="SL-066"),
    pytest.param('foo == "bar" &', id="SL-067"),
    pytest.param('foo == "bar" |', id="SL-068"),
    pytest.param("foo != ||", id="SL-069"),
    pytest.param('foo in {"", ||', id="SL-070"),
    pytest.param('foo in ""', id="SL-071"),
    pytest.param('"FOO', id="SL-072"),
    pytest.param("\"FOO'", id="SL-073"),
    pytest.param('"FOO', id="SL-074"),
    pytest.param("'FOO", id="SL-075"),
    pytest.param("(", id="SL-076"),
    pytest.param('(a == "foo"', id="SL-077"),
    pytest.param(")", id="SL-078"),
    pytest.param("()", id="SL-079"),
    pytest.param("%", id="SL-080"),
    pytest.param('a == "b" && %', id="SL-081"),
    pytest.param('a == "b" || %', id="SL-082"),
    pytest.param("a ", id="SL-083"),
    pytest.param("has(foo) &&", id="SL-084"),
    pytest.param('a not in "bar" && !has(foo) || b in c', id="SL-132"),
    pytest.param('a  not  in  "bar"  &&  ! has( foo )  ||  b  in  c ', id="SL-137"),
    pytest.param('a notin"bar"&&!has(foo)||b in"c"', id="SL-138"),
    pytest.param("a" * 513 + ' == "value"', id="SL-146"),
    pytest.param('label == "value', id="SL-147"),
    pytest.param("label == 'value", id="SL-148"),
    pytest.param('label = "value"', id="SL-149"),
    pytest.param("all(", id="SL-150"),
    pytest.param("global(", id="SL-151"),
    pytest.param("has()", id="SL-152"),
    pytest.param("has(foo", id="SL-153"),
    pytest.param("has( foo ", id="SL-154"),
    pytest.param('a == "b" & has(foo)', id="SL-155"),
    pytest.param('a == "b" | has(foo)', id="SL-156"),
    pytest.param('label starts foo "value"', id="SL-157"),
    pytest.param('label inf "value"', id="SL-158"),
    pytest.param('label ends foo "value"', id="SL-159"),
    pytest.param('label ends withs "value"', id="SL-160"),
    pytest.param('label squiggles "value"', id="SL-161"),
]

CANONICAL = [
    pytest.param("", "all()", id="SL-085"),
    pytest.param(" all() ", "all()", id="SL-086"),
    pytest.param(" (all() )", "all()", id="SL-087"),
    pytest.param("! (has( b)||! has(a ))", "!(has(b) || !has(a))", id="SL-088"),
    pytest.param('! (a == "b"&&! c != "d")', '!(a == "b" && !c != "d")', id="SL-089"),
    pytest.param('a == "\'"', 'a == "\'"', id="SL-090"),
    pytest.param("a == '\"'", "a == '\"'", id="SL-091"),
    pytest.param("a contains '\"'", "a contains '\"'", id="SL-092"),
    pytest.param('a contains "\'"', 'a contains "\'"', id="SL-093"),
    pytest.param("a startswith '\"'", "a starts with '\"'", id="SL-094"),
    pytest.param('a endswith "\'"', 'a ends with "\'"', id="SL-095"),
    pytest.param("a!='\"'", "a != '\"'", id="SL-096"),
    pytest.param('a in {"d"}', 'a in {"d"}', id="SL-097"),
    pytest.param('a in {"a", "b"}', 'a in {"a", "b"}', id="SL-098"),
    pytest.param('a in {"d", "a", "b"}', 'a in {"a", "b", "d"}', id="SL-099"),
    pytest.param('a in {"z", "x", "y", "a"}', 'a in {"a", "x", "y", "z"}', id="SL-100"),
    pytest.param(
        'a in {"z", "z", "x", "y", "x", "a"}', 'a in {"a", "x", "y", "z"}', id="SL-101"
    ),
    pytest.param("k == 'v'", 'k == "v"', id="SL-102"),
    pytest.param("k != 'v'", 'k != "v"', id="SL-103"),
    pytest.param("k contains 'v'", 'k contains "v"', id="SL-104"),
    pytest.param("k starts with 'v'", 'k starts with "v"', id="SL-105"),
    pytest.param("k ends with 'v'", 'k ends with "v"', id="SL-106"),
    pytest.param("k == 'v' && x == 'y'", '(k == "v" && x == "y")', id="SL-107"),
    pytest.param("k == 'v' || has(x)", '(k == "v" || has(x))', id="SL-108"),
    pytest.param("!(k == 'v')", '!k == "v"', id="SL-109"),
    pytest.param("k in {'v'}", 'k in {"v"}', id="SL-110"),
    pytest.param("k not in {'v'}", 'k not in {"v"}', id="SL-111"),
    pytest.param(
        "!(!(k == 'v' && has(t) || all()) && (a in {'b', 'c'}))",
        '!(!((k == "v" && has(t)) || all()) && a in {"b", "c"})',
        id="SL-112",
    ),
]

# What matters of these rows is that they are read at all.
PARSED = [
    pytest.param('a=="b"', id="SL-113"),
    pytest.param('a!="b"', id="SL-114"),
    pytest.param('a != "b"', id="SL-115"),
    pytest.param('(a=="b")', id="SL-116"),
    pytest.param('a=="b"', id="SL-117"),
    pytest.param('label == "value"', id="SL-118"),
    pytest.param('label contains "value"', id="SL-119"),
    pytest.param('contains contains "contains"', id="SL-120"),
    pytest.param("contains contains 'contains'", id="SL-121"),
    pytest.param('label contains"value"', id="SL-122"),
    pytest.param('label startswith "value"', id="SL-123"),
    pytest.param('label endswith "value"', id="SL-124"),
    pytest.param('label starts with "value"', id="SL-125"),
    pytest.param('startswith starts with "value"', id="SL-126"),
    pytest.param('label ends with "value"', id="SL-127"),
    pytest.param('endswith ends with "value"', id="SL-128"),
    pytest.param('label starts  with "value"', id="SL-129"),
    pytest.param('label ends  with "value"', id="SL-130"),
    pytest.param("a" * 512 + ' == "value"', id="SL-131"),
    pytest.param("has(calico/k8s_ns)", id="SL-133"),
    pytest.param("has(calico/k8s_ns/role)", id="SL-134"),
    pytest.param("has(calico/k8s_NS-.1/role)", id="SL-135"),
    pytest.param('calico/k8s_ns == "kube-system" && k8s-app == "kube-dns"', id="SL-136"),
    pytest.param("a not in {}", id="SL-139"),
    pytest.param('a not in {"a"}', id="SL-140"),
    pytest.param('a not in {"a","B"}', id="SL-141"),
    pytest.param("global()", id="SL-142"),
    pytest.param("global( )", id="SL-143"),
    pytest.param("all()", id="SL-144"),
    pytest.param("all( )", id="SL-145"),
]


@pytest.mark.parametrize(("text", "matching", "others"), ACCEPTED)
def test_a_selector_matches_these_labels_and_not_those(text, matching, others):
    for selector in (parse(text), parse(str(parse(text)))):
        assert [True] * len(matching) == [selector.matches(labels) for labels in matching]
        assert [False] * len(others) == [selector.matches(labels) for labels in others]


@pytest.mark.parametrize("text", REJECTED)
def test_what_is_no_selector_is_refused(text):
    with pytest.raises(InvalidRequestError, match="selector is wrong at character"):
        parse(text)


@pytest.mark.parametrize(("text", "canonical"), CANONICAL)
def test_the_canonical_form_is_this(text, canonical):
    assert canonical == str(parse(text))


@pytest.mark.parametrize("text", PARSED)
def test_every_spelling_is_read(text):
    assert str(parse(text)) == str(parse(str(parse(text))))


@pytest.mark.parametrize(
    ("text", "at", "reason"),
    [
        ("rack = 'r1'", 6, "expected an operator"),
        ("rack\n== 'r1'", 5, "expected an operator"),
        ("(a == 'x'", 10, "the \\) of character 1, the text ends"),
        ("a == 'x' b", 10, "found 'b'"),
        ("a in {'x' 'y'}", 11, "expected , or }"),
        ("has (a)", 5, "expected an operator"),
        ("a inx", 3, "expected an operator"),
        ("all(a)", 5, "expected \\)"),
    ],
)
def test_an_error_says_where_and_what_was_expected(text, at, reason):
    with pytest.raises(InvalidRequestError, match=f"at character {at}: .*{reason}"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("!(!has(a))", "has(a)"),
        ("!(!(has(a) && has(b)))", "(has(a) && has(b))"),
        ("(has(a) && has(b)) && has(c)", "((has(a) && has(b)) && has(c))"),
        ("has(a) || has(b) && has(c)", "(has(a) || (has(b) && has(c)))"),
        ("a in {}", "a in {}"),
        ("a in{'x',}", 'a in {"x"}'),
    ],
)
def test_parentheses_and_negations_are_those_that_matter(text, canonical):
    assert canonical == str(parse(text))


@pytest.mark.parametrize(
    "text",
    [
        "(" * 20_000 + "all()" + ")" * 20_000,
        "!(" * 20_001 + "all()" + ")" * 20_001,
        "(all() && " * 20_000 + "all()" + ")" * 20_000,
    ],
    ids=["parentheses", "negations", "groups"],
)
def test_depth_costs_neither_the_stack_nor_more_than_linear_time(text):
    selector = parse(text)

    assert text.startswith("!") != selector.matches({})
    assert parse(str(selector)) == selector


@QUICK
@given(selector_trees, label_sets)
def test_p11_the_canonical_form_parses_to_the_same_selector_and_evaluates_as_the_reference(
    tree, labels
):
    selector = parse(written(tree))

    assert selector == parse(str(selector))
    assert holds(tree, labels) == selector.matches(labels)


def written(tree: tuple) -> str:
    """Write a tree as a person might: parentheses round everything, blanks here and there."""
    match tree:
        case ("!", term):
            return f"! ({written(term)})"
        case ("&&" | "||" as operator, *terms):
            return "( " + f"\t{operator}".join(map(written, terms)) + ")"
        case ("all",):
            return "all( )"
        case ("has", label):
            return f"has( {label})"
        case ("in" | "not in" as operator, label, texts):
            return f"{label} {operator}{{{', '.join(map(quoted, texts))}}}"
        case _:
            operator, label, text = tree
            return f"{label} {operator}{quoted(text)}"


def quoted(text: str) -> str:
    return f"'{text}'" if '"' in text else f'"{text}"'


def holds(tree: tuple, labels: dict[str, str]) -> bool:
    """The reference: what the grammar's rules say, straight from the tree."""
    match tree:
        case ("!", term):
            return not holds(term, labels)
        case ("&&" | "||" as operator, *terms):
            return (all if operator == "&&" else any)(holds(term, labels) for term in terms)
        case ("all",):
            return True
        case ("has", label):
            return label in labels
        case _:
            return compared(tree, labels)


def compared(tree: tuple, labels: dict[str, str]) -> bool:
    operator, label, operand = tree
    if label not in labels:
        return operator in ("!=", "not in")
    value = labels[label]
    results = {
        "==": lambda: value == operand,
        "!=": lambda: value != operand,
        "in": lambda: value in operand,
        "not in": lambda: value not in operand,
        "contains": lambda: operand in value,
        "starts with": lambda: value[: len(operand)] == operand,
        "ends with": lambda: operand == "" or value[-len(operand) :] == operand,
    }
    return bool(results[operator]())
