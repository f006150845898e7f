"""
What an endpoint of etcd tells anybody over HTTP: the time, and its certificate.

gRPC shows neither. The server is not verified here: whoever trusts it has asked by gRPC.
"""

import contextlib
import http.client
import ssl
from dataclasses import dataclass

from poolmgr.store.settings import Endpoint, Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Greeting:
    """
    What an endpoint tells.

    Attributes:
        date: As HTTP writes it; "" = not told.
        certificate: In DER form; b"" = it has none, or did not show it.
    """

    endpoint: str
    date: str
    certificate: bytes


def greet(endpoint: Endpoint, settings: Settings, *, timeout_s: float) -> Greeting:
    """Ask an endpoint for its version, as anybody may."""
    host, port = endpoint.host.strip("[]"), endpoint.port
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    if endpoint.scheme == "https":
        tls = _unverifying(settings)
        connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=tls)
    date, certificate = "", b""
    try:
        # A listener for gRPC alone, or one that wants another certificate, hangs up.
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection.connect()
            if isinstance(connection.sock, ssl.SSLSocket):
                certificate = connection.sock.getpeercert(binary_form=True) or b""
            connection.request("GET", "/version")
            date = connection.getresponse().headers.get("Date", "")
    finally:
        connection.close()
    return Greeting(endpoint=str(endpoint), date=date, certificate=certificate)


def _unverifying(settings: Settings) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if settings.cert_file:
        with contextlib.suppress(OSError):
            tls.load_cert_chain(settings.cert_file, settings.key_file, password=str)
    return tls
