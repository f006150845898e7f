"""
What the Kubernetes API says about pods, namespaces and nodes.

Rules:

1. A call is one attempt and ends at its deadline, whatever the server does.
2. None means that the API itself knows no such object. Whatever is no answer to the question
   is a KubernetesError.
3. What the environment says about proxies is not heeded: a runtime's are for pulling images.
4. lightkube takes longer to import than all else in an ADD, so only making a `Kubernetes` does.
"""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from poolmgr.errors import InvalidRequestError, KubernetesError
from poolmgr.kube.access import FIELD, TIMEOUT_S, Access, check_names, unusable
from poolmgr.kube.deadline import Calls
from poolmgr.kube.facts import NamespaceFacts, NodeFacts, PodFacts

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import BaseTransport
    from lightkube import Client
    from lightkube.config.kubeconfig import SingleConfig
    from lightkube.config.models import Cluster, User
    from lightkube.models.meta_v1 import ObjectMeta
    from lightkube.resources.core_v1 import Node, Pod

_PAGE = 500  # pods in an answer, as kubectl asks for
_SHOWN = 300  # characters of a foreign message
_IP_TYPES = ("InternalIP", "ExternalIP")  # the others are names
_T = TypeVar("_T")

_REMEDIES = {
    401: "check the token or client certificate",
    403: "allow its user to get and list pods, namespaces and nodes",
    410: "ask again",
}
_UNHEALTHY = "look at the API server"
_UNREACHABLE = "check the server's address, its certificate authority, and that it runs"


class Kubernetes:
    """
    A client of the API; threads that share it share the fate of a call that is cut off.

    Args:
        access: How to reach it.
        timeout_s: For each call.

    Attributes:
        server: URL of the API server.

    Raises:
        InvalidRequestError: `access` cannot be used; nothing was asked.
    """

    def __init__(self, access: Access, *, timeout_s: float = TIMEOUT_S) -> None:
        self._calls = Calls(timeout_s)
        config = _config(access)
        self.server = config.cluster.server
        self._client = _client(config, access, self._calls)

    def pod(self, namespace: str, name: str) -> PodFacts | None:
        """
        Read a pod; None = there is none.

        Raises:
            InvalidRequestError: No object can have such a name.
            KubernetesError: No answer.
        """
        from lightkube.resources.core_v1 import Pod

        check_names(namespace, name)
        return self._one(
            f"pod {namespace}/{name}",
            name,
            lambda: _pod(self._client.get(Pod, name, namespace=namespace)),
        )

    def namespace(self, name: str) -> NamespaceFacts | None:
        """Read a namespace; None = there is none. Raises as `pod` does."""
        from lightkube.resources.core_v1 import Namespace

        check_names(name)
        return self._one(
            f"namespace {name}",
            name,
            lambda: NamespaceFacts(**_common(self._client.get(Namespace, name).metadata)),
        )

    def node(self, name: str) -> NodeFacts | None:
        """Read a node; None = there is none. Raises as `pod` does."""
        from lightkube.resources.core_v1 import Node

        check_names(name)
        return self._one(f"node {name}", name, lambda: _node(self._client.get(Node, name)))

    def nodes(self) -> tuple[NodeFacts, ...]:
        """
        Read all nodes, or none.

        Raises:
            KubernetesError: No answer, or not all pages in time.
        """
        from lightkube.resources.core_v1 import Node

        return self._call(
            "nodes", lambda: tuple(map(_node, self._client.list(Node, chunk_size=_PAGE)))
        )

    def service_ranges(self) -> tuple[str, ...]:
        """
        Read the ranges of services; where the API has none, the address of its own service.

        Raises:
            KubernetesError: No answer.
        """
        from lightkube.resources.core_v1 import Service
        from lightkube.resources.networking_v1 import ServiceCIDR

        def ranges() -> tuple[str, ...]:
            specs = (each.spec for each in self._client.list(ServiceCIDR, chunk_size=_PAGE))
            return tuple(cidr for spec in specs for cidr in (spec and spec.cidrs) or ())

        def addresses() -> tuple[str, ...]:
            spec = self._client.get(Service, "kubernetes", namespace="default").spec
            return tuple((spec and spec.clusterIPs) or ())

        try:
            return self._call("service ranges", ranges)
        except KubernetesError as error:
            if error.status != 404:  # which says that the version of Kubernetes is an older one
                raise
        return self._call("service default/kubernetes", addresses)

    def pods(self, node: str) -> tuple[PodFacts, ...]:
        """
        Read all pods of a node, or none: after half a list the other half would look gone.

        Raises:
            InvalidRequestError: No node can have such a name.
            KubernetesError: No answer, or not all pages in time.
        """
        from lightkube.resources.core_v1 import Pod

        check_names(node)
        return self._call(
            f"pods of node {node}",
            lambda: tuple(
                _pod(each)
                for each in self._client.list(
                    Pod, namespace="*", fields={"spec.nodeName": node}, chunk_size=_PAGE
                )
            ),
        )

    def all_pods(self) -> Iterator[PodFacts]:
        """
        Yield all pods of all nodes, page by page as of one time; each page has its deadline.

        Raises:
            KubernetesError: No answer, or no more; the pods that are missing may exist.
        """
        from lightkube.resources.core_v1 import Pod

        found = iter(self._client.list(Pod, namespace="*", chunk_size=_PAGE))

        def page() -> tuple[PodFacts, ...]:
            return tuple(map(_pod, islice(found, _PAGE)))

        while pods := self._call("pods", page):
            yield from pods

    def close(self) -> None:
        """Let go of connections."""
        self._client.close()

    def _one(self, what: str, name: str, ask: "Callable[[], _Facts]") -> "_Facts | None":
        from lightkube import ApiError

        def none_if_unknown() -> _Facts | None:
            try:
                found = ask()
            except ApiError as error:
                details = error.status.details
                # Other 404s come from a wrong path, or from something else than this API.
                if error.status.reason == "NotFound" and details and details.name == name:
                    return None
                raise
            if found.name != name:
                raise ValueError(f"the object in it is {found.name!r:.80}")
            return found

        return self._call(what, none_if_unknown)

    def _call(self, what: str, ask: Callable[[], _T]) -> _T:
        try:
            return self._calls.answer(ask)
        except Exception as error:  # what lightkube lets through of other libraries has no base
            why, status, remedy = _diagnosis(error, self._calls.timeout_s)
            raise KubernetesError(self.server, what, why, remedy, status=status) from error


_Facts = TypeVar("_Facts", PodFacts, NamespaceFacts, NodeFacts)


def _diagnosis(error: Exception, timeout_s: float) -> tuple[str, int | None, str]:
    """Tell what is wrong, the HTTP status if there is one, and the remedy."""
    from httpx2 import HTTPStatusError, TimeoutException, TransportError
    from lightkube import ApiError

    match error:
        case ApiError() if error.status.code:
            said = error.status.message or error.status.reason or "no reason given"
            code = error.status.code
            return f"{code}, {said:.{_SHOWN}}", code, _REMEDIES.get(code, _UNHEALTHY)
        case HTTPStatusError():
            code = error.response.status_code
            return f"{code}, and no word of Kubernetes", code, _UNREACHABLE
        case TimeoutError() | TimeoutException():
            return f"no answer within {timeout_s:g} s", None, _UNREACHABLE
        case TransportError() | OSError():
            return f"{str(error) or type(error).__name__:.{_SHOWN}}", None, _UNREACHABLE
        case _:
            return f"the answer is not understood: {error!s:.{_SHOWN}}", None, _UNHEALTHY


def _common(metadata: "ObjectMeta | None") -> dict[str, Any]:
    if metadata is None or not metadata.name:
        raise ValueError("it is an object without a name")
    return {
        "name": metadata.name,
        "labels": metadata.labels or {},
        "annotations": metadata.annotations or {},
    }


def _node(node: "Node") -> NodeFacts:
    addresses = (node.status and node.status.addresses) or ()
    return NodeFacts(
        **_common(node.metadata),
        addresses=tuple(each.address for each in addresses if each.type in _IP_TYPES),
        pod_cidrs=tuple((node.spec and node.spec.podCIDRs) or ()),
    )


def _pod(pod: "Pod") -> PodFacts:
    common = _common(pod.metadata)
    assert pod.metadata is not None
    return PodFacts(
        **common,
        namespace=pod.metadata.namespace or "",
        node=(pod.spec and pod.spec.nodeName) or "",
        phase=(pod.status and pod.status.phase) or "",
        host_network=bool(pod.spec and pod.spec.hostNetwork),
        deleted=pod.metadata.deletionTimestamp is not None,
        addresses=_addresses(pod),
    )


def _addresses(pod: "Pod") -> tuple[str, ...]:
    if not pod.status:
        return ()
    several = [each.ip for each in pod.status.podIPs or () if each.ip]
    return tuple(several or filter(None, [pod.status.podIP]))


def _config(access: Access) -> "SingleConfig":
    """
    Say where the server is and who we are.

    Raises:
        InvalidRequestError: The kubeconfig is missing or of no use, or nothing is given.
    """
    from lightkube.config.kubeconfig import KubeConfig
    from lightkube.config.models import User

    config: SingleConfig | None
    if access.kubeconfig:
        config = _loaded(access.kubeconfig)
    elif access.api_root:
        config = KubeConfig.from_server(access.api_root).get()
    else:
        raise InvalidRequestError(
            "no way to reach the Kubernetes API is configured; name a kubeconfig file in "
            f"{FIELD}",
            field=FIELD,
        )
    assert config is not None  # only a default makes it None
    user = config.user or User()
    _override(config.cluster, user, access)
    if user.token_file:
        user.token_file = str(config.abs_file(user.token_file))
    return config._replace(user=user)


def _override(cluster: "Cluster", user: "User", access: Access) -> None:
    if access.api_root:
        # Calico's own configurations name the path too.
        cluster.server = access.api_root.rstrip("/").removesuffix("/api/v1")
    if access.certificate_authority:
        cluster.certificate_auth = access.certificate_authority
    if access.client_certificate:
        user.client_cert, user.client_cert_data = access.client_certificate, None
    if access.client_key:
        user.client_key, user.client_key_data = access.client_key, None
    if access.token:
        user.token, user.token_file = access.token, None
    user.token = user.token or None  # an empty one is none


def _loaded(path: str) -> "SingleConfig":
    """
    Load a kubeconfig's current context.

    Raises:
        InvalidRequestError: It cannot be read, or is not a kubeconfig that we can use.
    """
    from lightkube.config.kubeconfig import KubeConfig

    try:
        config = KubeConfig.from_file(path).get()
    except Exception as error:  # the loader checks little, so anything may come of a bad file
        raise unusable(path, f"not a kubeconfig: {_flaw(error)}") from error
    assert config is not None  # only a default makes it None
    if config.user and config.user.exec:
        # It would outlive our deadline, and its children too.
        why = "its user takes credentials from a program (exec); give it a token or certificate"
        raise unusable(path, why)
    return config


def _flaw(error: Exception) -> str:
    from lightkube import ConfigError
    from yaml import YAMLError

    match error:
        case OSError():
            return error.strerror or str(error)
        case ConfigError():
            return str(error)
        case YAMLError():  # its text quotes the file, which may be secret
            return "it is not YAML"
        case KeyError():
            return f"{error} is missing or not defined"
        case _:
            return str(error)


def _client(config: "SingleConfig", access: Access, calls: Calls) -> "Client":
    """
    Make the client; the sockets that it opens are noted for `calls`.

    Raises:
        InvalidRequestError: A certificate, key or URL is of no use.
    """
    from httpx2 import Timeout
    from lightkube import Client
    from lightkube.config.client_adapter import verify_cluster

    assert config.user is not None
    try:
        url = urlsplit(config.cluster.server)
        if url.scheme not in {"http", "https"} or not url.hostname:
            raise ValueError(f"{config.cluster.server!r:.200} is not the URL of a server")  # noqa: TRY301 - one place makes the message
        tls = verify_cluster(config.cluster, config.user, config.abs_file, trust_env=False)
        return Client(
            config,
            timeout=Timeout(calls.timeout_s),
            trust_env=False,
            transport=_transport(tls, calls),
        )
    except Exception as error:  # again anything: no file, no PEM, no base64, no URL
        where = f"kubeconfig {access.kubeconfig}" if access.kubeconfig else access.api_root
        raise InvalidRequestError(
            f"{where}: certificates, key, credentials or URL cannot be used: {_flaw(error)}",
            field=FIELD,
        ) from error


def _transport(tls: "SSLContext", calls: Calls) -> "BaseTransport":
    from httpx2 import HTTPTransport, Request, Response

    def note(event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            calls.note(info["return_value"].get_extra_info("socket"))

    class Transport(HTTPTransport):
        """Notes the sockets it opens."""

        def handle_request(self, request: Request) -> Response:
            """Send a request."""
            request.extensions = {**request.extensions, "trace": note}
            return super().handle_request(request)

    return Transport(verify=tls)
