"""
What a stand-in for a Kubernetes API server knows, and what it answers.

It starts with the objects of the recordings in `tests/interop/data/kube.json`, each at its own
version, and keeps every change, so that lists of the past, pages and watches are answered as a
real server answers them; `tests/interop/test_kube_api.py` compares.
"""

import base64
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RECORDED = Path(__file__).parent.parent / "interop" / "data" / "kube.json"
KINDS = {
    "namespaces": "Namespace",
    "nodes": "Node",
    "pods": "Pod",
    "services": "Service",
    "servicecidrs": "ServiceCIDR",
}
NETWORKING = ["apis", "networking.k8s.io", "v1"]

Json = dict[str, Any]


@dataclass(frozen=True)
class Change:
    version: int
    type: str  # ADDED, MODIFIED, DELETED
    plural: str
    object: Json

    @property
    def key(self) -> str:
        metadata = self.object["metadata"]
        return _key(metadata.get("namespace", ""), metadata["name"])


class Problem(Exception):  # noqa: N818 - it becomes an answer
    def __init__(
        self, code: int, reason: str, message: str, details: Json | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.body: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            **({"details": details} if details else {}),
            "code": code,
        }


def recorded() -> list[Json]:
    """Read the recorded requests and answers."""
    return json.loads(RECORDED.read_text())["answers"]


class KubeState:
    """
    Namespaces, nodes and pods with their history, first as recorded.

    Attributes:
        oldest: Versions before this one are compacted away.
        has_service_ranges: Kubernetes before 1.33 has no such kind.
    """

    def __init__(self) -> None:
        self.oldest = 0
        self.has_service_ranges = True
        self._changes: list[Change] = []
        self._changed = threading.Condition()
        self._over = threading.Event()
        answers = {each["name"]: each for each in recorded()}
        first = [("namespaces", each) for each in answers["namespaces"]["items"]]
        first += [("nodes", each) for each in answers["nodes"]["items"]]
        for plural, item in sorted(
            first, key=lambda each: int(each[1]["metadata"]["resourceVersion"])
        ):
            self._append("ADDED", plural, {"kind": KINDS[plural], "apiVersion": "v1", **item})
        last = int(answers["pods"]["body"]["metadata"]["resourceVersion"])
        for event in answers["watch-gone"]["stream"]:
            if int(event["object"]["metadata"]["resourceVersion"]) <= last:
                self._append(event["type"], "pods", event["object"])

    @property
    def version(self) -> int:
        """Of the last change."""
        return self._changes[-1].version

    def put(self, plural: str, name: str, *, namespace: str = "", **fields: Any) -> Json:
        """
        Create an object or change one; labels and annotations go into its metadata.

        What is not named in `fields` stays.
        """
        with self._changed:
            key = _key(namespace, name)
            old = self._at(plural, self.version).get(key)
            base = old or {
                "kind": KINDS[plural],
                "apiVersion": "v1",
                "metadata": {},
                "spec": {},
                "status": {},
            }
            if plural == "pods" and old is None:
                base["spec"] = {"containers": [{"name": "c", "image": "example/app:1"}]}
            metadata = {
                **base["metadata"],
                "name": name,
                "resourceVersion": str(self.version + 1),
            }
            if namespace:
                metadata["namespace"] = namespace
            metadata |= {
                each: fields.pop(each)
                for each in ("labels", "annotations", "deletionTimestamp")
                if each in fields
            }
            new = {
                **base,
                "metadata": metadata,
                **{each: {**base[each], **fields[each]} for each in fields},
            }
            self._append("MODIFIED" if old else "ADDED", plural, new)
            self._changed.notify_all()
            return new

    def delete(self, plural: str, name: str, *, namespace: str = "") -> None:
        """Delete an object at once."""
        with self._changed:
            old = self._at(plural, self.version)[_key(namespace, name)]
            metadata = {**old["metadata"], "resourceVersion": str(self.version + 1)}
            self._append("DELETED", plural, {**old, "metadata": metadata})
            self._changed.notify_all()

    def replay(self, events: list[Json]) -> None:
        """Let recorded changes of pods happen."""
        with self._changed:
            for event in events:
                if event["type"] != "BOOKMARK":
                    self._append(event["type"], "pods", event["object"])
            self._changed.notify_all()

    # What it answers, and when.

    def answer(self, path: str, query: Mapping[str, str], user: str | None) -> Json:
        """Answer a GET that is no watch; raises Problem."""
        if path == "/version":
            return next(each["body"] for each in recorded() if each["name"] == "version")
        plural, namespace, name = self._route(path)
        verb = "get" if name else "list"
        if user != "admin":
            where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            what = f'{plural} "{name}" is' if name else f"{plural} is"
            details = {**({"name": name} if name else {}), "kind": plural}
            message = f'{what} forbidden: User "{user or "system:anonymous"}" cannot {verb} resource "{plural}" in API group "" {where}'
            raise Problem(403, "Forbidden", message, details)
        with self._changed:
            if not name:
                return self._list(plural, namespace, query)
            found = self._at(plural, self.version).get(_key(namespace, name))
        if found is None:
            raise Problem(
                404, "NotFound", f'{plural} "{name}" not found', {"name": name, "kind": plural}
            )
        return found

    def watch(self, path: str, query: Mapping[str, str]) -> Iterator[Json]:
        """Answer a watch: what happened after the version, until the time is over."""
        plural, namespace, _ = self._route(path)
        after = int(query.get("resourceVersion", "0"))
        if after < self.oldest:
            gone = Problem(
                410, "Expired", f"too old resource version: {after} ({self.version})"
            )
            yield {"type": "ERROR", "object": gone.body}
            return
        until = time.monotonic() + float(query.get("timeoutSeconds", "60"))
        while (left := until - time.monotonic()) > 0 and not self._over.is_set():
            with self._changed:
                fresh = [
                    each
                    for each in self._changes
                    if each.version > after and each.plural == plural
                ]
                if not fresh:
                    self._changed.wait(left)
                after = max([after, *(each.version for each in fresh)])
            for change in fresh:
                if _selected(change.object, namespace, query):
                    yield {"type": change.type, "object": change.object}
        if query.get("allowWatchBookmarks") == "true":
            blank = {
                "metadata": {"resourceVersion": str(after)},
                "spec": {"containers": None},
                "status": {},
            }
            yield {
                "type": "BOOKMARK",
                "object": {"kind": KINDS[plural], "apiVersion": "v1", **blank},
            }

    def _route(self, path: str) -> tuple[str, str, str]:
        """Return plural, namespace and name; the latter two may be empty."""
        match path.strip("/").split("/"):
            case [*group, "servicecidrs"] if group == NETWORKING and self.has_service_ranges:
                return "servicecidrs", "", ""
            case ["api", "v1", plural] if plural in KINDS:
                return plural, "", ""
            case ["api", "v1", "namespaces", namespace, "services", name]:
                return "services", namespace, name
            case ["api", "v1", ("namespaces" | "nodes") as plural, name]:
                return plural, "", name
            case ["api", "v1", "namespaces", namespace, "pods"]:
                return "pods", namespace, ""
            case ["api", "v1", "namespaces", namespace, "pods", name]:
                return "pods", namespace, name
        raise LookupError(path)

    def _list(self, plural: str, namespace: str, query: Mapping[str, str]) -> Json:
        version, start = self.version, ""
        if query.get("continue"):
            text = query["continue"] + "=" * (-len(query["continue"]) % 4)
            page = json.loads(base64.urlsafe_b64decode(text))
            version, start = page["rv"], page["start"]
        elif query.get("resourceVersionMatch") == "Exact":
            version = int(query["resourceVersion"])
        if version < self.oldest:
            raise Problem(
                410, "Expired", "the version or page asked for is too old, list again"
            )
        objects = self._at(plural, version)
        keys = [
            key
            for key in sorted(objects)
            if key >= start and _selected(objects[key], namespace, query)
        ]
        metadata: Json = {"resourceVersion": str(version)}
        limit = int(query.get("limit", "0"))
        if limit and len(keys) > limit:
            page = {"v": "meta.k8s.io/v1", "rv": version, "start": keys[limit - 1] + "\0"}
            text = json.dumps(page, separators=(",", ":")).encode()
            metadata["continue"] = base64.urlsafe_b64encode(text).decode().rstrip("=")
            if "fieldSelector" not in query:
                metadata["remainingItemCount"] = len(keys) - limit
            keys = keys[:limit]
        items = [
            {
                name: value
                for name, value in objects[key].items()
                if name not in ("kind", "apiVersion")
            }
            for key in keys
        ]
        return {
            "kind": f"{KINDS[plural]}List",
            "apiVersion": "v1",
            "metadata": metadata,
            "items": items,
        }

    def _at(self, plural: str, version: int) -> dict[str, Json]:
        objects: dict[str, Json] = {}
        for change in self._changes:
            if change.plural == plural and change.version <= version:
                if change.type == "DELETED":
                    objects.pop(change.key, None)
                else:
                    objects[change.key] = change.object
        return objects

    def _append(self, type_: str, plural: str, obj: Json) -> None:
        version = int(obj["metadata"]["resourceVersion"])
        self._changes.append(Change(version, type_, plural, obj))


def _selected(obj: Json, namespace: str, query: Mapping[str, str]) -> bool:
    if namespace and obj["metadata"].get("namespace") != namespace:
        return False
    for term in filter(None, query.get("fieldSelector", "").split(",")):
        field, _, value = term.partition("=")
        assert field == "spec.nodeName", field
        if obj["spec"].get("nodeName", "") != value:
            return False
    return True


def _key(namespace: str, name: str) -> str:
    return f"/{namespace}/{name}" if namespace else f"/{name}"
