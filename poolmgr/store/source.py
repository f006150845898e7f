"""
Where the etcd settings come from.

Rules:

1. The first source that names endpoints wins whole, and sources are never mixed: the network
   configuration, the environment, the file asked for or else the default files.
2. A network configuration has no keys for user and password; they come from the environment.
3. Certificates and keys are looked at here: gRPC would take a broken file, and find no etcd.
4. Of a variable `ETCD_X` the form `CALICO_ETCD_X` wins. An empty text counts as not given.

Importing this imports no etcd client, and neither YAML nor TLS until they are needed.
"""

import stat
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
_VARIABLES = {
    "ca_file": "ETCD_CA_CERT_FILE",
    "cert_file": "ETCD_CERT_FILE",
    "key_file": "ETCD_KEY_FILE",
    "username": "ETCD_USERNAME",
    "password": "ETCD_PASSWORD",
}
_KEYS = _VARIABLES | {
    "ca_file": "etcd_ca_cert_file",
    "cert_file": "etcd_cert_file",
    "key_file": "etcd_key_file",
}
"""What a network configuration calls the options; for two it has no keys (rule 2)."""
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
        if config_file is not None or not _is_absent(path):
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
    options = {
        option: given.get(key) or (_variable(environ, key) if key.isupper() else None)
        for option, key in _KEYS.items()
    }
    settings = _settings("network configuration", given["etcd_endpoints"], _KEYS, options)
    return settings, "network configuration"


def _from_environment(environ: Mapping[str, str]) -> tuple[Settings, str] | None:
    endpoints = _variable(environ, "ETCD_ENDPOINTS")
    if not endpoints:
        return None
    _check_datastore(_variable(environ, "DATASTORE_TYPE"), "environment, DATASTORE_TYPE")
    options = {option: _variable(environ, name) for option, name in _VARIABLES.items()}
    settings = _settings("environment", endpoints, _VARIABLES, options)
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
    return _settings(str(path), endpoints, _FIELDS, options)


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # it cannot be looked at; reading it will say why
    return False


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


def _settings(
    source: str, endpoints: str, names: Mapping[str, str], options: Mapping[str, str | None]
) -> Settings:
    try:
        settings = Settings.parse(endpoints, names=names, **options)
        _check_tls_files(settings, names)
    except InvalidRequestError as err:
        raise InvalidRequestError(f"{source}: {err}", field=err.field) from err
    return settings


def _check_tls_files(settings: Settings, names: Mapping[str, str]) -> None:
    """Refuse files that cannot be what their options say."""
    for option, file in (("ca_file", settings.ca_file), ("cert_file", settings.cert_file)):
        if file is not None:
            _check_certificates(file, names[option])
    if settings.cert_file is not None and settings.key_file is not None:
        _check_key(settings.key_file, names["key_file"], settings.cert_file)


def _check_certificates(file: str, name: str) -> None:
    _check_readable(file, name)

    import ssl

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(file)
    except ssl.SSLError:
        raise InvalidRequestError(
            f"{name} {file} holds no certificate in PEM form, or a broken one", field=name
        ) from None


def _check_key(file: str, name: str, cert_file: str) -> None:
    _check_readable(file, name)

    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")  # what is too weak is not decided here
    try:
        context.load_cert_chain(cert_file, file, password=str)  # never ask at a terminal
    except ssl.SSLError:
        raise InvalidRequestError(
            f"{name} {file} holds no key, in PEM form and without passphrase, "
            f"of the certificate in {cert_file}",
            field=name,
        ) from None


def _check_readable(file: str, name: str) -> None:
    path = Path(file)
    why = "it is not a regular file"
    try:
        if stat.S_ISREG(path.stat().st_mode):  # opening a FIFO would wait for a writer
            path.open("rb").close()
            return
    except OSError as err:
        why = err.strerror or str(err)
    except ValueError as err:  # no path at all: it has a null character
        why = str(err)
    raise InvalidRequestError(f"{name} {file} is not readable: {why}", field=name)
