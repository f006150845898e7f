"""
Where the etcd settings come from.

Rules:

1. The first source that names endpoints wins whole, and sources are never mixed: the network
   configuration, the environment, the file asked for or else the default files.
2. A network configuration has no keys for user and password; they come from the environment.
3. Of a variable `ETCD_X` the form `CALICO_ETCD_X` wins. An empty text counts as not given.

Importing this imports no etcd client, and no YAML until a file is read.
"""

from collections.abc import Mapping
from pathlib import Path

from poolmgr.errors import InvalidRequestError
from poolmgr.store.settings import Settings

CONFIG_FILE = Path("/etc/poolmgr/poolmgr.cfg")
CALICO_FILE = Path("/etc/calico/calicoctl.cfg")
_KIND = {"apiVersion": "projectcalico.org/v3", "kind": "CalicoAPIConfig"}
_FIELDS = {
    "ca_file": "etcdCACertFile",
    "cert_file": "etcdCertFile",
    "key_file": "etcdKeyFile",
    "username": "etcdUsername",
    "password": "etcdPassword",
}
_NOT_SUPPORTED = {
    "etcdDiscoverySrv": "list the members in etcdEndpoints",
    "etcdKey": "write it to a file and name that in etcdKeyFile",
    "etcdCert": "write it to a file and name that in etcdCertFile",
    "etcdCACert": "write it to a file and name that in etcdCACertFile",
}
_KUBERNETES = ("k8s", "kubeconfig", "usePodCIDR")
"""Keys that begin so belong to Calico's other datastore and say nothing here."""


def settings_from(
    netconf: Mapping[str, str] | None,
    environ: Mapping[str, str],
    config_file: Path | None = None,
    *,
    default_files: tuple[Path, ...] = (CONFIG_FILE, CALICO_FILE),
) -> tuple[Settings, str]:
    """
    Find the etcd settings.

    Args:
        netconf: The `etcd_*` keys of a network configuration; None where there is none.
        environ: The environment.
        config_file: File to use instead of the default ones; it must exist and name endpoints.
        default_files: Files to look into otherwise, in this order; absent ones are passed over.

    Returns:
        The settings, and the source in words, for messages.

    Raises:
        InvalidRequestError: No source names endpoints, or the one that does is not usable.
    """
    found = _from_netconf(netconf or {}, environ) or _from_environment(environ)
    if found is not None:
        return found
    for path in default_files if config_file is None else (config_file,):
        if config_file is not None or path.exists():
            settings = _from_file(path)
            if settings is not None:
                return settings, f"file {path}"
    if config_file is not None:
        raise InvalidRequestError(
            f"{config_file} names no etcdEndpoints", field="etcdEndpoints"
        )
    raise InvalidRequestError(
        "no etcd endpoints are configured: set etcd_endpoints in the network configuration, "
        f"ETCD_ENDPOINTS in the environment, or etcdEndpoints in {default_files[0]}",
        field="etcd_endpoints",
    )


def _variable(environ: Mapping[str, str], name: str) -> str:
    return environ.get(f"CALICO_{name}") or environ.get(name, "")


def _from_netconf(
    netconf: Mapping[str, str], environ: Mapping[str, str]
) -> tuple[Settings, str] | None:
    given = {key: value for key, value in netconf.items() if value}
    if not given:
        return None
    if "etcd_endpoints" not in given:
        name = min(given)
        raise InvalidRequestError(
            f"{name} without etcd_endpoints: name the endpoints beside it, or remove it",
            field=name,
        )
    settings = _settings(
        "network configuration",
        given["etcd_endpoints"],
        ca_file=given.get("etcd_ca_cert_file"),
        cert_file=given.get("etcd_cert_file"),
        key_file=given.get("etcd_key_file"),
        username=_variable(environ, "ETCD_USERNAME"),
        password=_variable(environ, "ETCD_PASSWORD"),
    )
    return settings, "network configuration"


def _from_environment(environ: Mapping[str, str]) -> tuple[Settings, str] | None:
    endpoints = _variable(environ, "ETCD_ENDPOINTS")
    if not endpoints:
        return None
    _check_datastore(_variable(environ, "DATASTORE_TYPE"), "environment, DATASTORE_TYPE")
    settings = _settings(
        "environment",
        endpoints,
        ca_file=_variable(environ, "ETCD_CA_CERT_FILE"),
        cert_file=_variable(environ, "ETCD_CERT_FILE"),
        key_file=_variable(environ, "ETCD_KEY_FILE"),
        username=_variable(environ, "ETCD_USERNAME"),
        password=_variable(environ, "ETCD_PASSWORD"),
    )
    return settings, "environment"


def _from_file(path: Path) -> Settings | None:
    """Read a CalicoAPIConfig; None = it names no endpoints."""
    document = _object(_load(path), str(path))
    for key, wanted in _KIND.items():
        if document.get(key) != wanted:
            raise InvalidRequestError(f"{path}: {key} must be {wanted}", field=key)
    if unknown := sorted(document.keys() - _KIND.keys() - {"metadata", "spec"}):
        raise InvalidRequestError(f"{path}: unknown key {unknown[0]}", field=unknown[0])
    spec = _spec(_object(document.get("spec") or {}, f"{path}: spec"), path)
    endpoints = spec.pop("etcdEndpoints", "")
    if not endpoints:
        return None
    _check_datastore(spec.pop("datastoreType", ""), f"{path}: spec.datastoreType")
    options = {option: spec.get(name) for option, name in _FIELDS.items()}
    return _settings(str(path), endpoints, **options)


def _load(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as err:
        raise InvalidRequestError(f"{path} is not readable: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        # The error's own text quotes the file, where a password may stand.
        mark = getattr(err, "problem_mark", None)
        where = f", at line {mark.line + 1}" if mark else ""
        raise InvalidRequestError(f"{path} is neither YAML nor JSON{where}") from None


def _object(value: object, what: str) -> dict[str, object]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise InvalidRequestError(f"{what} is not an object")
    return value


def _spec(spec: Mapping[str, object], path: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for key, value in spec.items():
        if key.startswith(_KUBERNETES) or value is None or value == "":
            continue
        if key in _NOT_SUPPORTED:
            raise InvalidRequestError(
                f"{path}: spec.{key} is not supported; {_NOT_SUPPORTED[key]}", field=key
            )
        if key not in {"datastoreType", "etcdEndpoints", *_FIELDS.values()}:
            raise InvalidRequestError(f"{path}: unknown key spec.{key}", field=key)
        if not isinstance(value, str):
            raise InvalidRequestError(f"{path}: spec.{key} must be a string", field=key)
        texts[key] = value
    return texts


def _check_datastore(word: str, where: str) -> None:
    if word not in {"", "etcdv3"}:
        raise InvalidRequestError(f"{where} is {word!r:.40}; only etcdv3 is supported")


def _settings(source: str, endpoints: str, **options: str | None) -> Settings:
    try:
        return Settings.parse(endpoints, **options)
    except InvalidRequestError as err:
        raise InvalidRequestError(f"{source}: {err}", field=err.field) from err
