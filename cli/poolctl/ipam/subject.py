"""What `poolctl ipam explain` is about, from its files: a pod, its annotations, a network."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from poolmgr.api.manifests import check_file, documents, text_of
from poolmgr.api.meta import NAME_RULE, is_name
from poolmgr.api.violations import shown
from poolmgr.cni import runtime
from poolmgr.cni.host import node_name
from poolmgr.errors import InvalidRequestError


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """
    A pod, as far as it is known; "" and None = it is not.

    Attributes:
        host_network: It has the node's addresses instead of its own.
    """

    namespace: str = ""
    pod: str = ""
    annotations: Mapping[str, str] | None = None
    host_network: bool = False

    def __bool__(self) -> bool:
        """Tell whether there is a pod at all."""
        return bool(self.namespace or self.pod) or self.annotations is not None


def subject_of(
    namespace: str, pod: str, annotations: str | None, manifest: str | None
) -> Subject:
    """
    Put together what the command line says.

    Args:
        namespace, pod: "" = not given.
        annotations: A file, "-" = standard input, with annotations or a pod.
        manifest: Likewise, with a pod.

    Raises:
        InvalidRequestError: A file cannot be used.
        click.UsageError: The options contradict each other, or a manifest.
    """
    for option, name in (("--namespace", namespace), ("--pod", pod)):
        if name and not is_name(name):
            raise click.BadParameter(
                f"{name!r:.60} is not a name: {NAME_RULE}", param_hint=option
            )
    if annotations and manifest:
        raise click.UsageError("give either --annotations or -f")
    found = Subject()
    if manifest:
        found = _pod(_document(manifest), _origin(manifest))
    elif annotations:
        found = Subject(annotations=_annotations(annotations))
    for option, wanted, has in (
        ("--namespace", namespace, found.namespace),
        ("--pod", pod, found.pod),
    ):
        if wanted and has and wanted != has:
            raise click.UsageError(f"{option} is {wanted}, and the manifest says {has}")
    return replace(found, namespace=found.namespace or namespace, pod=found.pod or pod)


def node_of(text: str) -> str:
    """
    Check the name of a node.

    Raises:
        click.BadParameter: No node can have it.
    """
    try:
        return node_name({"nodename": text or "/"})
    except InvalidRequestError:
        raise click.BadParameter(
            f"{text!r:.60} is not a node name", param_hint="--node"
        ) from None


def network_of(conf: Path) -> runtime.Network:
    """
    Read the network of a configuration that gets addresses from us.

    Raises:
        InvalidRequestError: There is none, or more than one.
    """
    try:
        if str(conf) == "-":
            raw = text_of(sys.stdin.buffer, _origin("-")).encode()
        else:
            check_file(str(conf))
            raw = conf.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"cannot read {conf}: {error.strerror}") from error
    found = [
        network
        for network in runtime.networks(_origin(str(conf)), raw)
        if any(plugin.is_ours for plugin in network.plugins)
    ]
    if not found:
        raise InvalidRequestError(f"{conf} has no plugin whose ipam.type is {runtime.OURS}")
    if len(found) > 1:
        names = ", ".join(network.name for network in found)
        raise InvalidRequestError(
            f"{conf} has {len(found)} networks with addresses from {runtime.OURS}: {names}; "
            "put the one in question into a file of its own"
        )
    return found[0]


def _annotations(path: str) -> Mapping[str, str] | None:
    document, origin = _document(path), _origin(path)
    if "kind" in document or "metadata" in document:
        return _pod(document, origin).annotations
    return _texts(document, origin)


def _document(path: str) -> Mapping[str, Any]:
    origin = _origin(path)
    try:
        if path == "-":
            text = text_of(sys.stdin.buffer, origin)
        else:
            check_file(path)
            with Path(path).open("rb") as file:
                text = text_of(file, origin)
    except OSError as error:
        raise InvalidRequestError(f"cannot read {origin}: {error.strerror}") from error
    found = documents(text, origin)
    if len(found) != 1:
        raise InvalidRequestError(f"{origin}: {len(found)} documents; there must be one")
    return found[0]


def _origin(path: str) -> str:
    return "standard input" if path == "-" else path


def _pod(document: Mapping[str, Any], origin: str) -> Subject:
    kind, metadata = document.get("kind"), document.get("metadata")
    if kind != "Pod":
        raise InvalidRequestError(f"{origin}: kind {shown(kind)} is not Pod")
    spec = document.get("spec")
    metadata = {} if metadata is None else metadata
    if not isinstance(metadata, Mapping):
        raise InvalidRequestError(f"{origin}: metadata must be an object")
    names = {}
    for key in ("name", "namespace"):
        name = metadata.get(key) or ""
        if name and not (isinstance(name, str) and is_name(name)):
            raise InvalidRequestError(
                f"{origin}: metadata.{key}: {shown(name)} is not a name: {NAME_RULE}"
            )
        names[key] = name
    return Subject(
        namespace=names["namespace"],
        pod=names["name"],
        annotations=_texts(metadata.get("annotations"), f"{origin}: metadata.annotations"),
        host_network=isinstance(spec, Mapping) and spec.get("hostNetwork") is True,
    )


def _texts(value: object, where: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise InvalidRequestError(f"{where}: annotations must be an object")
    for key, text in value.items():
        if not isinstance(text, str):
            raise InvalidRequestError(
                f"{where}: {key}: {shown(text)} must be a string; put it into quotes"
            )
    return dict(value)
