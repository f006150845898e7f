"""`poolctl version`: which poolctl this is, and what it works with."""

from typing import TYPE_CHECKING, Any

from poolctl.config import Session
from poolctl.report import document, printable
from poolmgr import __version__

if TYPE_CHECKING:
    from poolmgr.api.clusterinformation import ClusterInformationSpec
    from poolmgr.store.etcd import EtcdStore


def versions(session: Session, *, cluster: bool) -> dict[str, Any]:
    """
    Tell versions.

    Args:
        cluster: Also those of the cluster and of etcd. Where etcd refuses to tell of the
            cluster, "clusterError" says why.

    Raises:
        PoolmgrError: The cluster cannot be asked.
    """
    found: dict[str, Any] = {"clientVersion": __version__}
    return found | _of_cluster(session) if cluster else found


def _of_cluster(session: Session) -> dict[str, Any]:
    from contextlib import closing

    from poolmgr.api.clusterinformation import ClusterInformationSpec
    from poolmgr.errors import StoreRefusedError
    from poolmgr.store.etcd import EtcdStore

    spec, failure = ClusterInformationSpec(), {}
    try:
        spec = _cluster(session) or spec
    except StoreRefusedError as error:
        user = session.settings.username
        failure = {"clusterError": f"{f'user {user}: ' if user else ''}{error}"}
    with closing(EtcdStore(session.settings)) as store:
        etcd = _of_etcd(session, store)
    return {
        "clusterVersion": spec.calico_version or None,
        "clusterType": spec.cluster_type or None,
        "clusterGUID": spec.cluster_guid or None,
        "datastoreReady": spec.datastore_ready,
        **failure,
        "etcd": etcd,
    }


def _cluster(session: Session) -> "ClusterInformationSpec | None":
    from poolmgr.api import ClusterInformation
    from poolmgr.api.clusterinformation import DEFAULT
    from poolmgr.core.records import decode_resource, resource_key
    from poolmgr.core.txn import Fetch

    key = resource_key(ClusterInformation.plural, DEFAULT)
    reading = session.store.read(Fetch(keys=frozenset({key})), timeout_s=session.left_s)
    stored = reading.found[key]
    return decode_resource(ClusterInformation, key, stored.value).spec if stored else None


def _of_etcd(session: Session, store: "EtcdStore") -> dict[str, str | None]:
    """Ask each endpoint for its version; None = it does not answer."""
    from poolmgr.errors import StoreError
    from poolmgr.store.members import look

    found: dict[str, str | None] = {}
    for endpoint in session.settings.addresses:
        found[str(endpoint)] = None
        try:
            found[str(endpoint)] = look(store, endpoint).version
        except StoreError:
            continue
    return found


def rendered(found: dict[str, Any], output: str) -> str:
    """Write versions as "table", "json" or "yaml"."""
    return "\n".join(_lines(found)) if output == "table" else document(found, output)


def _lines(found: dict[str, Any]) -> list[str]:
    titles = {
        "clientVersion": "Client version",
        "clusterVersion": "Cluster version",
        "clusterType": "Cluster type",
        "clusterGUID": "Cluster GUID",
        "datastoreReady": "Datastore ready",
    }
    rows = [(titles[key], found[key]) for key in titles if key in found]
    rows += [(f"etcd at {name}", text) for name, text in found.get("etcd", {}).items()]
    words = {None: "unknown", True: "yes", False: "no"}
    pad = max(len(title) for title, _ in rows) + 2
    return [
        f"{f'{title}:':{pad}}{printable(str(words.get(text, text)))}" for title, text in rows
    ]
