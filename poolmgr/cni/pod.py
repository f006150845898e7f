"""What the runtime, or the Kubernetes API, tells of the pod that an interface is for."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from poolmgr.cni.netconf import Call
from poolmgr.cni.wanted import PodView
from poolmgr.errors import InvalidRequestError

if TYPE_CHECKING:  # most calls do without its imports
    from poolmgr.kube.client import Kubernetes

_NODE_FIELD = "kubernetes.node_name"
NODE_REMEDY = f"write the name that Kubernetes has for this node as {_NODE_FIELD}"


def is_looked_up(call: Call) -> bool:
    """Tell whether the API is to be asked about the pod of `call`."""
    return call.kubernetes is not None and bool(call.args.pod and call.args.namespace)


def api_of(call: Call, *, most_s: float = math.inf) -> "Kubernetes":
    """
    Return a client of the API that the configuration names.

    Args:
        most_s: For each call, if that is less than usual.

    Raises:
        InvalidRequestError: There is no way to ask it.
    """
    from poolmgr.kube.access import TIMEOUT_S, Access
    from poolmgr.kube.client import Kubernetes

    access = Access(**(call.kubernetes or {}))
    return Kubernetes(access, timeout_s=min(TIMEOUT_S, most_s))


def labels_of_node(call: Call, node: str, api: "Kubernetes") -> Mapping[str, str] | None:
    """
    Return the labels that the API has for this node; None = it knows no such node.

    Raises:
        InvalidRequestError: No node of Kubernetes can have such a name.
        KubernetesError: It gives no answer.
    """
    try:
        found = api.node(call.kubernetes_node or node)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{error}; {NODE_REMEDY}", field=_NODE_FIELD) from error
    return None if found is None else found.labels


def look_up(call: Call, api: "Kubernetes") -> PodView:
    """
    Ask the API about the pod, unless the runtime told, and about its namespace.

    Raises:
        InvalidRequestError: The API knows no such pod, or no such namespace.
        KubernetesError: It gives no answer.
    """
    namespace, name = call.args.namespace, call.args.pod
    annotations = call.annotations
    if annotations is None:
        pod = api.pod(namespace, name)
        if pod is None:
            raise _unknown(f"pod {namespace}/{name}", "K8S_POD_NAME")
        annotations = pod.annotations
    found = api.namespace(namespace)
    if found is None:
        raise _unknown(f"namespace {namespace}", "K8S_POD_NAMESPACE")
    return PodView(
        annotations=annotations,
        namespace_annotations=found.annotations,
        namespace_labels=found.labels,
    )


def _unknown(what: str, name: str) -> InvalidRequestError:
    return InvalidRequestError(
        f"CNI_ARGS {name}: the Kubernetes API does not know {what}, so nobody can say what it "
        "shall get; nothing was assigned",
        field=name,
    )
