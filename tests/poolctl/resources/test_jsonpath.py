"""Templates as kubectl has them."""

import pytest

from poolctl.resources.jsonpath import Template

DATA = {
    "kind": "List",
    "items": [
        {
            "metadata": {"name": "a", "labels": {"k8s.io/host": "h1", "app-x": "1"}},
            "spec": {"on": True, "size": 26, "uses": ["W", "T"]},
        },
        {"metadata": {"name": "b"}, "spec": {"on": False, "size": 29}},
    ],
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{.items[*].metadata.name}", "a b"),
        ("{$.items[0].metadata.name}", "a"),
        ("{@.kind}", "List"),
        ("{kind}", "List"),
        ("kind", "List"),
        (".items[-1:].metadata.name", "b"),
        ("{.items[1]['metadata']['name']}", "b"),
        ("{..name}", "a b"),
        ("{.items[0].spec}", '{"on":true,"size":26,"uses":["W","T"]}'),
        ("{.items[0].spec.uses}", '["W","T"]'),
        ("{.items[0].spec.uses[*]}", "W T"),
        ("{.items[*].spec.size}", "26 29"),
        ("{.items[?(@.spec.on==true)].metadata.name}", "a"),
        ("{.items[?(@.spec.size>26)].metadata.name}", "b"),
        ("{.items[?(@.metadata.name=='b')].spec.size}", "29"),
        (r"{.items[0].metadata.labels.k8s\.io/host}", "h1"),
        ("{.items[0].metadata.labels.app-x}", "1"),
        ("{.items[0].metadata.labels['k8s.io/host']}", "h1"),
        ("{.absent.name}", ""),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.spec.size}{"\\n"}{end}', "a\t26\nb\t29\n"),
        ("{range .items[0]}{range .spec.uses[*]}<{@}>{end}{end}.", "<W><T>."),
        ("all: {.kind}{'}'}", "all: List}"),
    ],
)
def test_a_template_is_filled_in(template, text):
    assert text == Template(template).render(DATA)


def test_what_is_stored_cannot_steer_a_terminal():
    assert r"\x1b[2J!" == Template("{.a}!").render({"a": "\x1b[2J"})


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{.a", "braces or quotes do not match"),
        ("{.a}}", "braces or quotes do not match"),
        ("{.a[}", "bracket is not closed"),
        ("{.a.}", "a name is missing"),
        ("{.a b}", "must stand here"),
        ("{.a[?(@.b = 1)]}", "is not a path"),
        ("{end}", "{end} without {range}"),
        ("{range .a}x", "{range} without {end}"),
    ],
)
def test_a_wrong_template_is_refused(template, why):
    with pytest.raises(ValueError, match=r".+") as caught:
        Template(template)

    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
