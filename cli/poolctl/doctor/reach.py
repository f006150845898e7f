"""
Why an endpoint of etcd does not let us in, and what to do about it.

gRPC says little of it; so TLS is spoken once more without it, and the server verified by what
the settings name.
"""

import socket
import ssl

from poolctl.doctor.findings import Finding, problem
from poolctl.doctor.greeting import Greeting
from poolmgr.errors import StoreError
from poolmgr.store.settings import Endpoint, Settings

LOGIN = (
    "set ETCD_USERNAME and ETCD_PASSWORD, or etcdUsername and etcdPassword in the "
    "configuration file"
)
WANTS_USER = "user name is empty"
_REFUSED_PASSWORD = "authentication failed"  # noqa: S105 - what etcd says
_OTHER = "see that etcd runs there, and that no firewall or missing route is in the way"
_SIGNED = (
    "one that the authority of etcd's --trusted-ca-file has signed, and that is still valid"
)
_ALERT_S = 1.0

# X509_V_ERR_*, openssl/x509_vfy.h
_NOT_YET, _EXPIRED, _NAMES = 9, 10, (62, 63, 64)


def explain(
    endpoint: Endpoint,
    error: StoreError,
    greeting: Greeting,
    settings: Settings,
    *,
    timeout_s: float,
) -> Finding:
    """Find out why an endpoint does not answer as etcd should."""
    if _REFUSED_PASSWORD in str(error):
        remedy = f"see that user and password are right: {LOGIN}"
        return problem("reachable", str(error), remedy)
    if WANTS_USER in str(error):
        return problem("reachable", str(error), LOGIN)
    found = _trouble(endpoint, greeting, settings, timeout_s)
    if found is None:
        return problem("reachable", str(error), _OTHER)
    fact, remedy = found
    return problem("reachable", f"{endpoint} cannot be used: {fact}", remedy)


def _trouble(
    endpoint: Endpoint, greeting: Greeting, settings: Settings, timeout_s: float
) -> tuple[str, str] | None:
    """Return what is wrong with TLS, and the remedy; None = nothing that can be seen."""
    https = f"https://{endpoint.target}"
    if endpoint.scheme == "http":
        speaks_tls = bool(greeting.certificate)
        remedy = f"name it {https}, and the authority's certificate by ETCD_CA_CERT_FILE"
        return ("it speaks TLS, and http:// is named", remedy) if speaks_tls else None
    if greeting.date and not greeting.certificate:
        remedy = f"name it http://{endpoint.target}, or give etcd --cert-file and --key-file"
        return "it does not speak TLS, and https:// is named", remedy
    try:
        _shake(endpoint, settings, timeout_s)
    except ssl.SSLCertVerificationError as error:
        return _distrust(endpoint, error, settings)
    except ssl.SSLError as error:
        return _refusal(error, settings)
    except OSError:
        pass  # Not TLS's fault.
    return None


def _shake(endpoint: Endpoint, settings: Settings, timeout_s: float) -> None:
    """
    Shake hands as gRPC does.

    Raises:
        OSError: That does not work.
    """
    tls = ssl.create_default_context(cafile=settings.ca_file)
    if settings.cert_file:
        tls.load_cert_chain(settings.cert_file, settings.key_file, password=str)
    host = endpoint.host.strip("[]")
    with (
        socket.create_connection((host, endpoint.port), timeout_s) as plain,
        tls.wrap_socket(plain, server_hostname=host) as secured,
    ):
        # What TLS 1.3 thinks of our certificate comes after the handshake, or nothing does.
        secured.settimeout(min(timeout_s, _ALERT_S))
        secured.recv(1)


def _distrust(
    endpoint: Endpoint, error: ssl.SSLCertVerificationError, settings: Settings
) -> tuple[str, str]:
    """Say why we do not trust the server."""
    if error.verify_code == _EXPIRED:
        return "the server's certificate has expired", "renew it on the server"
    if error.verify_code == _NOT_YET:
        return "the server's certificate is not valid yet", "set the clocks of both by NTP"
    if error.verify_code in _NAMES:
        return (
            f"the server's certificate is not for {endpoint.host}",
            "name the endpoint as the certificate does, or have one made with this name in it",
        )
    known = f"in {settings.ca_file}" if settings.ca_file else "known to this host"
    return (
        f"the authority that signed the server's certificate is not {known} "
        f"({error.verify_message})",
        "name the file with that authority's certificate by ETCD_CA_CERT_FILE, or "
        "etcdCACertFile in the configuration file",
    )


def _refusal(error: ssl.SSLError, settings: Settings) -> tuple[str, str] | None:
    """Say why the server does not trust us."""
    if "ALERT" not in (error.reason or ""):
        return None
    said = f"(it says {error.reason.lower().replace('_', ' ')})"
    if settings.cert_file:
        return (
            f"it refuses the client certificate {settings.cert_file} {said}",
            f"name {_SIGNED}",
        )
    return (
        f"it wants a client certificate, and none is set {said}",
        f"set ETCD_CERT_FILE and ETCD_KEY_FILE, or etcdCertFile and etcdKeyFile: {_SIGNED}",
    )
