"""
What every v3 resource has in common: the envelope, metadata, reading and writing.

One model serves two readers. A *manifest* is what a person wrote: unknown fields, wrong types
and broken rules are refused, all of them in one message. A *stored* value may come from another
program or version: unknown fields are kept and written back, rules are not checked, only what
cannot be understood at all is an error.

Rules:

1. Both readers accept a number or boolean where text belongs (`cidr: 7` is the text "7"), and
   `null` as absent.
2. The written form is Calico's: its order of fields, and empty fields left out.
3. A rule yields the path of its field and a sentence, and is checked on manifests only.

Source: Calico api/pkg/apis/projectcalico/v3, libcalico-go/lib/validator/v3.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from poolmgr.api.violations import Violation, readable, refused, shown, title

API_VERSION = "projectcalico.org/v3"
STORED = {"stored": True}
"""Validation context of stored values."""

_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_PART = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_REVISION = re.compile("[0-9]{1,19}")  # etcd counts to 2**63
_FOREIGN_METADATA = frozenset(
    (
        "generation",
        "selfLink",
        "finalizers",
        "ownerReferences",
        "managedFields",
        "deletionGracePeriodSeconds",
    )
)
_MAX_ANNOTATIONS_BYTES = 256 * 1024
_INITIALS = {
    "bgp": "BGP",
    "cidrs": "CIDRs",
    "guid": "GUID",
    "id": "ID",
    "ipip": "IPIP",
    "ipv4": "IPv4",
    "ipv6": "IPv6",
    "mac": "MAC",
    "vxlan": "VXLAN",
}


def plain_text(value: object) -> object:
    """Turn a number or boolean into text as Calico's tools do; leave everything else alone."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value).removesuffix(".0") if isinstance(value, int | float) else value


def _label(value: object) -> object:
    return "" if value is None else plain_text(value)


def _tuple(value: object) -> object:
    return tuple(value) if isinstance(value, list) else value


Text = Annotated[str, BeforeValidator(plain_text)]
Labels = Mapping[str, Annotated[str, BeforeValidator(_label)]]
Texts = Annotated[tuple[Text, ...], BeforeValidator(_tuple)]
AsTuple = BeforeValidator(_tuple)


def _camel_case(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(_INITIALS.get(word, word.capitalize()) for word in rest)


class Model(BaseModel):
    """A part of a resource: frozen, strictly typed, camelCase outside and snake_case inside."""

    model_config = ConfigDict(
        frozen=True,
        strict=True,
        extra="allow",
        alias_generator=_camel_case,
        validate_by_name=True,
        validate_by_alias=True,
        defer_build=True,  # agentless calls need two of the kinds, not all
    )

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, data: Any) -> Any:
        """Treat `null` as absent where the field is one of ours."""
        if not isinstance(data, dict) or None not in data.values():
            return data
        ours = {info.alias for info in cls.model_fields.values()}
        return {
            key: value for key, value in data.items() if value is not None or key not in ours
        }

    @property
    def extra(self) -> dict[str, Any]:
        """Fields we do not know, as stored."""
        return self.model_extra or {}

    def dump(self) -> dict[str, Any]:
        """Write it as JSON data in Calico's order, empty fields left out, unknown ones last."""
        fields: dict[str, Any] = {}
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            if value is not None and (value or info.default is None):
                fields[info.alias or name] = _plain(value)
        return {**fields, **self.extra}


def _plain(value: object) -> object:
    match value:
        case Model():
            return value.dump()
        case tuple():
            return [_plain(item) for item in value]
        case Mapping():
            return dict(sorted(value.items()))
        case bool() | int() | str():
            return value
        case _:
            return str(value)


class ObjectMeta(Model):
    """
    Metadata of a resource.

    Attributes:
        resource_version: Revision of the last change, as text; "" = not said. Never stored.
        creation_timestamp: RFC 3339, whole seconds.
        deletion_timestamp: Set while somebody else's finalizers delay the deletion.
    """

    name: Text
    uid: Text = ""
    resource_version: Text = ""
    creation_timestamp: Text = ""
    deletion_timestamp: Text = ""
    labels: Labels = Field(default_factory=dict)
    annotations: Labels = Field(default_factory=dict)

    def violations(self) -> Iterator[Violation]:
        """Check the rules every kind shares."""
        if not is_name(self.name):
            yield "metadata.name", f"{shown(self.name)} is not allowed: {NAME_RULE}"
        if self.resource_version and not _REVISION.fullmatch(self.resource_version):
            why = f"{shown(self.resource_version)} is not a whole number of at most 19 digits"
            yield "metadata.resourceVersion", why
        yield from self._label_violations()
        yield from self._annotation_violations()

    def _label_violations(self) -> Iterator[Violation]:
        for key, value in self.labels.items():
            if not _is_qualified(key):
                yield "metadata.labels", f"key {shown(key)} is not allowed: {_KEY_RULE}"
            if value and not _is_label_part(value):
                yield f"metadata.labels.{key}", f"{shown(value)} is not allowed: {_VALUE_RULE}"

    def _annotation_violations(self) -> Iterator[Violation]:
        for key in self.annotations:
            if not _is_qualified(key.lower()):
                yield "metadata.annotations", f"key {shown(key)} is not allowed: {_KEY_RULE}"
        texts = (*self.annotations, *self.annotations.values())
        size = sum(len(text.encode(errors="replace")) for text in texts)
        if size > _MAX_ANNOTATIONS_BYTES:
            limit = f"at most {_MAX_ANNOTATIONS_BYTES:,}"
            yield "metadata.annotations", f"{size:,} bytes are too many: {limit}"


NAME_RULE = (
    "lower case letters, digits, '-' and '.', at most 253 characters, "
    "a letter or digit at both ends of each part"
)
_VALUE_RULE = "at most 63 letters, digits, '-', '_' and '.', a letter or digit at both ends"
_KEY_RULE = f"an optional lower case domain and '/', then {_VALUE_RULE}"


class Resource(Model):
    """
    A v3 resource.

    Attributes:
        kind: As written in manifests, "IPPool".
        plural: As in keys, "ippools".
        aliases: Further words for it on a command line, lower case.
    """

    kind: ClassVar[str]
    plural: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()

    metadata: ObjectMeta

    @property
    def ref(self) -> str:
        """Kind and name, as commands print them: "ippool/pool-a"."""
        return f"{self.kind.lower()}/{self.metadata.name}"

    @classmethod
    def from_manifest(cls, obj: Mapping[str, Any]) -> Self:
        """
        Read what a person wrote.

        Raises:
            InvalidRequestError: All that is wrong with it: paths, values, what is allowed.
        """
        who = title(cls.kind, obj)
        data = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        try:
            resource = cls.model_validate(data, by_alias=True, by_name=False)
        except ValidationError as error:
            raise refused(who, list(readable(error))) from None
        wrong = list(_unknown_fields(resource)) or [
            *resource.metadata.violations(),
            *resource.violations(),
        ]
        if wrong:
            raise refused(who, wrong)
        return resource

    @classmethod
    def from_stored(cls, raw: bytes, mod_revision: int) -> Self:
        """
        Read a stored value.

        Args:
            mod_revision: Revision of its last change; becomes the resource version.

        Raises:
            ValueError: It cannot be understood; the message says why in one line.
        """
        try:
            obj = json.loads(raw)
        except RecursionError:
            raise ValueError("nested too deeply") from None
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict):
            raise ValueError("not a JSON object with metadata")  # noqa: TRY004 - garbage of any sort is a ValueError
        data = {key: value for key, value in obj.items() if key not in ("kind", "apiVersion")}
        data["metadata"] = {**obj["metadata"], "resourceVersion": str(mod_revision)}
        try:
            return cls.model_validate(data, context=STORED, by_alias=True, by_name=False)
        except ValidationError as error:
            raise refused("", list(readable(error))) from None

    def to_manifest(self) -> dict[str, Any]:
        """Write it as people read it, with its resource version."""
        return {"kind": self.kind, "apiVersion": API_VERSION, **self.dump()}

    def to_stored(self) -> bytes:
        """Write it as Calico stores it: compact JSON without a resource version."""
        value = self.to_manifest()
        for name in ("resourceVersion", "selfLink"):
            value["metadata"].pop(name, None)
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return text.encode(errors="backslashreplace")  # half a surrogate pair, as JSON has it

    def violations(self) -> Iterator[Violation]:
        """Check the rules of the kind."""
        yield from ()

    def created(self, *, uid: str, now: str) -> Self:
        """
        Return what is stored when this manifest is created.

        Of its metadata, name, labels and annotations count; the status starts empty.

        Args:
            uid: A fresh one, see `new_uid`.
            now: RFC 3339, whole seconds, see `timestamp`.
        """
        mine = self.metadata
        metadata = ObjectMeta(
            name=mine.name,
            uid=uid,
            creation_timestamp=now,
            labels=mine.labels,
            annotations=mine.annotations,
        )
        update: dict[str, Any] = {"metadata": metadata}
        if status := type(self).model_fields.get("status"):
            update["status"] = status.get_default(call_default_factory=True)
        return self.model_copy(update=update)

    def updated(self, manifest: Self) -> Self:
        """
        Return what is stored when `manifest` is applied over this stored resource.

        Labels, annotations and spec become those of the manifest; the other metadata, the
        status, which programs write, and fields we do not know stay.
        """
        theirs = manifest.metadata
        update: dict[str, Any] = {
            "metadata": self.metadata.model_copy(
                update={"labels": theirs.labels, "annotations": theirs.annotations}
            )
        }
        for name in type(self).model_fields.keys() - {"metadata", "status"}:
            update[name] = getattr(manifest, name).model_copy(update=getattr(self, name).extra)
        return self.model_copy(update=update)


def is_name(text: str) -> bool:
    """Tell whether `text` may name a resource."""
    return len(text) <= 253 and _NAME.fullmatch(text) is not None


def new_uid() -> str:
    """Return a random UUID."""
    import uuid  # only creation needs it, and agentless calls never create

    return str(uuid.uuid4())


def timestamp(now_ns: int) -> str:
    """Write a time as RFC 3339 in UTC, whole seconds."""
    import time

    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_ns // 10**9))


def _is_label_part(text: str) -> bool:
    return len(text) <= 63 and _LABEL_PART.fullmatch(text) is not None


def _is_qualified(key: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    return _is_label_part(name) and (is_name(prefix) if slash else True)


def _unknown_fields(model: Model, path: str = "") -> Iterator[Violation]:
    for key in model.extra:
        if not (path == "metadata." and key in _FOREIGN_METADATA):
            yield f"{path}{key}", "unknown field"
    for name, info in type(model).model_fields.items():
        value = getattr(model, name)
        here = f"{path}{info.alias}"
        if isinstance(value, Model):
            yield from _unknown_fields(value, f"{here}.")
        elif isinstance(value, tuple):
            for index, item in enumerate(value):
                if isinstance(item, Model):
                    yield from _unknown_fields(item, f"{here}[{index}].")
