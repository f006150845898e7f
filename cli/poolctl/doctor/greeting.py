"""
What an endpoint of etcd tells anybody over HTTP: the time, and its certificate.

Who does not answer by HTTPS is asked by HTTP, and the other way round: what is named may not be
what is there.

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
        certificate: In DER form, even where the endpoint is http://; b"" = it has none, or did
            not show it.
    """

    endpoint: str
    date: str
    certificate: bytes


def greet(endpoint: Endpoint, settings: Settings, *, timeout_s: float) -> Greeting:
    """Ask an endpoint for its version, as anybody may."""
    host, port = endpoint.host.strip("[]"), endpoint.port
    by_http = http.client.HTTPConnection(host, port, timeout=timeout_s)
    by_https = http.client.HTTPSConnection(
        host, port, timeout=timeout_s, context=_unverifying(settings)
    )
    date, certificate = "", b""
    ways = (by_http, by_https) if endpoint.scheme == "http" else (by_https, by_http)
    for connection in ways:
        try:
            date, certificate = _asked(connection)
        except TimeoutError:
            break  # The other way would take as long.
        if date or certificate:
            break
    return Greeting(endpoint=str(endpoint), date=date, certificate=certificate)


def _asked(connection: http.client.HTTPConnection) -> tuple[str, bytes]:
    date, certificate = "", b""
    try:
        # A listener for gRPC alone, or one that wants another certificate, hangs up.
        connection.connect()
        if isinstance(connection.sock, ssl.SSLSocket):
            certificate = connection.sock.getpeercert(binary_form=True) or b""
        connection.request("GET", "/version")
        date = connection.getresponse().headers.get("Date", "")
    except TimeoutError:
        if not certificate:
            raise
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()
    return date, certificate


def _unverifying(settings: Settings) -> ssl.SSLContext:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE
    if settings.cert_file:
        with contextlib.suppress(OSError):
            tls.load_cert_chain(settings.cert_file, settings.key_file, password=str)
    return tls
