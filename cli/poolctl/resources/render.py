"""
Resources as tables, YAML, JSON, names, or as a template wants them.

Rules:

1. Lists are written while they are read, so that they may be of any length; a template needs
   all of them in memory.
2. What YAML and JSON show, `poolctl apply` accepts.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from poolctl.report import printable
from poolctl.resources.columns import Columns, columns_of, custom, line, lines
from poolctl.resources.jsonpath import Template
from poolmgr.api import Resource
from poolmgr.api.meta import API_VERSION

_NOT_ESCAPED_BY_JSON = re.compile(r"[\x7f-\x9f\ud800-\udfff]")
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # ten times as fast

WORDS = ("table", "ps", "wide", "yaml", "json", "name")
FORMS = (*WORDS, "custom-columns=COLUMNS", "jsonpath=TEMPLATE")


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """
    How resources of a kind are to be written.

    Attributes:
        form: "table", "yaml", "json", "name" or "jsonpath".
        columns: Of the table.
        widths: Of its columns, once it is written.
        export: Without what belongs to this store: uid, version, times.
    """

    kind: type[Resource]
    form: str
    columns: Columns = field(default_factory=dict)
    widths: list[int] = field(default_factory=list)
    template: Template | None = None
    export: bool = False

    @classmethod
    def of(cls, kind: type[Resource], text: str, *, export: bool = False) -> "Output":
        """
        Understand what follows `-o`.

        Raises:
            ValueError: It is no form of output; the message says which there are.
        """
        word, _, argument = text.partition("=")
        if text in ("table", "ps", "wide"):
            columns = columns_of(kind, wide=text == "wide")
            return cls(kind=kind, form="table", columns=columns)
        if text in WORDS:
            return cls(kind=kind, form=text, export=export)
        if word == "custom-columns":
            return cls(kind=kind, form="table", columns=custom(kind, argument))
        if word == "jsonpath":
            template = Template(argument)
            return cls(kind=kind, form="jsonpath", template=template, export=export)
        hint = "; jsonpath=TEMPLATE can say the same" if word.startswith("go-template") else ""
        raise ValueError(f"{text!r} is not one of {', '.join(FORMS)}{hint}")

    def value(self, resource: Resource) -> dict[str, Any]:
        """Return a resource as data."""
        value = resource.to_manifest()
        if self.export:
            kept = ("name", "labels", "annotations")
            metadata = value["metadata"]
            value["metadata"] = {name: metadata[name] for name in kept if name in metadata}
        return value

    def one(self, resource: Resource) -> str:
        """Write a resource that is not part of a list, but perhaps one of several in a row."""
        if self.form == "name":
            return printable(resource.ref)
        if self.form == "table":
            return line(self.columns, resource, self.widths)
        if self.form == "yaml":
            return f"---\n{_yaml(self.value(resource))}"
        return _json(self.value(resource))

    def chunks(
        self, resources: Iterable[Resource], *, revision: int, single: bool
    ) -> Iterator[str]:
        """
        Write resources.

        Args:
            revision: Where they were read; becomes the resource version of a List.
            single: One was asked for by name; it is then the object, not a List.

        Yields:
            Lines, or several of them, without the last line's end.
        """
        match self.form:
            case "table":
                yield from lines(self.columns, resources, self.widths)
            case "name":
                yield from (printable(each.ref) for each in resources)
            case "jsonpath":
                assert self.template is not None
                items = [self.value(each) for each in resources]
                head, _ = self._list(revision)
                yield self.template.render(items[0] if single else {**head, "items": items})
            case "yaml" if single:
                yield from (_yaml(self.value(each)) for each in resources)
            case _ if single:
                yield from (_json(self.value(each)) for each in resources)
            case "yaml":
                yield from self._yaml_list(resources, revision)
            case _:
                yield from self._json_list(resources, revision)

    def _list(self, revision: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what a List says before and after its items, in the order of YAML."""
        after = {
            "kind": f"{self.kind.kind}List",
            "metadata": {"resourceVersion": str(revision)},
        }
        return {"apiVersion": API_VERSION, **after}, after

    def _yaml_list(self, resources: Iterable[Resource], revision: int) -> Iterator[str]:
        _, after = self._list(revision)
        yield f"apiVersion: {API_VERSION}"
        empty = True
        for each in resources:
            text = _yaml([self.value(each)])
            yield f"items:\n{text}" if empty else text
            empty = False
        if empty:
            yield "items: []"
        yield _yaml(after)

    def _json_list(self, resources: Iterable[Resource], revision: int) -> Iterator[str]:
        head, _ = self._list(revision)
        ordered = {name: head[name] for name in ("kind", "apiVersion", "metadata")}
        opening = _json(ordered).removesuffix("\n}") + ',\n  "items": ['
        before = ""
        for each in resources:
            item = _json(self.value(each)).replace("\n", "\n    ")
            # A comma is owed to the next item, which is not known yet.
            yield opening if not before else f"{before},"
            before = f"    {item}"
        yield f"{before}\n  ]\n}}" if before else f"{opening}]\n}}"


def _yaml(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Dumper, default_flow_style=False, allow_unicode=True)
    return text.rstrip("\n")


def _json(value: object) -> str:
    text = json.dumps(value, indent=2, ensure_ascii=False)
    return _NOT_ESCAPED_BY_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
