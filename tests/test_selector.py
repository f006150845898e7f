"""Selectors: messages, canonical form, depth, and P11; what Calico's tests assert is in tests/behaviours."""

import pytest
from hypothesis import given

from poolmgr.errors import InvalidRequestError
from poolmgr.selector import parse
from tests.strategies import QUICK, label_sets, selector_trees


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
