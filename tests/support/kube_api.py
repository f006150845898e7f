"""
A stand-in for a Kubernetes API server: HTTP and TLS are real, what it knows was recorded.

What it answers is `kube_state.py`; how, and what may go wrong with it, is here.
"""

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from enum import StrEnum, auto
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.kube_state import Json, KubeState, Problem

PKI = Path(__file__).parent / "pki"
ADMIN, VIEWER = "admintoken", "viewtoken"


class Fault(StrEnum):
    """What may be wrong with every answer."""

    HANG = auto()  # the request is read, nothing is said
    HANDSHAKE = auto()  # not even TLS answers
    CLOSE = auto()  # in the middle of the body
    TRICKLE = auto()  # a byte of the body now and then
    TRICKLE_HEADERS = auto()
    ERROR = auto()  # 500 and a Status
    PLAIN_ERROR = auto()  # 502, from something in front of the server
    NOT_JSON = auto()
    OTHER_SHAPE = auto()  # JSON, but no object
    OTHER_OBJECT = auto()
    GONE = auto()  # 410: the version or page asked for is too old
    NOT_FOUND = auto()  # 404 without a Status
    NO_SUCH_KIND = auto()  # 404 with a Status, but about the path
    REDIRECT = auto()


PROBLEMS = {
    Fault.ERROR: (500, "InternalError", "etcdserver: request timed out"),
    Fault.NO_SUCH_KIND: (404, "NotFound", "the server could not find the requested resource"),
    Fault.GONE: (410, "Expired", "The provided continue parameter is too old"),
}
INSTEAD = {
    Fault.PLAIN_ERROR: (502, b"<html>Bad Gateway</html>", "text/html"),
    Fault.NOT_FOUND: (404, b'{"detail": "not found"}', "application/json"),
    Fault.NOT_JSON: (200, b"<html>Welcome to nginx!</html>", "application/json"),
    Fault.OTHER_SHAPE: (200, b'[{"metadata": 7}]', "application/json"),
    Fault.REDIRECT: (302, b"", "text/html"),
}


class KubeApi(KubeState):
    """
    The server, on a free port of 127.0.0.1, while the `with` block lasts.

    Attributes:
        fault: Applies to every request from now on; None = all is well.
        slow_s: Time each answer takes.
        requests: "METHOD path" of every request so far.
    """

    def __init__(self, *, tls: bool = True) -> None:
        super().__init__()
        self.fault: Fault | None = None
        self.slow_s = 0.0
        self.requests: list[str] = []
        self._server = _Server(self, tls=tls)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> "KubeApi":
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Refuse connections from now on, and drop those that are open."""
        if not self._over.is_set():
            self._over.set()
            with self._changed:
                self._changed.notify_all()
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    def kubeconfig(
        self, path: Path, *, user: Mapping[str, str] | None = None, **cluster: Any
    ) -> str:
        """Write a kubeconfig for this server; without `user` its client certificate is the admin's."""
        certificate = {
            "client-certificate": str(PKI / "client.pem"),
            "client-key": str(PKI / "client.key"),
        }
        trust = {} if cluster else {"certificate-authority": str(PKI / "ca.pem")}
        conf = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": self.url, **trust, **cluster}}],
            "users": [{"name": "u", "user": certificate if user is None else dict(user)}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
        }
        path.write_text(json.dumps(conf))
        return str(path)

    def wait(self, seconds: float) -> bool:
        """Let time pass; False = the server was stopped meanwhile."""
        return not self._over.wait(seconds)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, api: KubeApi, *, tls: bool) -> None:
        self.api = api
        self._open: set[socket.socket] = set()
        self._tls = None
        if tls:
            self._tls = ssl.create_default_context(
                ssl.Purpose.CLIENT_AUTH, cafile=str(PKI / "ca.pem")
            )
            self._tls.verify_mode = ssl.CERT_OPTIONAL
            self._tls.load_cert_chain(PKI / "server.pem", PKI / "server.key")
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread, so that a client which says nothing holds up nobody.
        if self.api.fault is Fault.HANDSHAKE:
            self.api.wait(60)
            return
        connection = request
        with contextlib.suppress(OSError):  # the client went away, or trusts us not
            if self._tls:
                connection = self._tls.wrap_socket(request, server_side=True)
            self._open.add(connection)
            with connection:
                super().finish_request(connection, client_address)
        self._open.discard(connection)

    def server_close(self) -> None:
        super().server_close()
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Keep quiet."""

    def do_GET(self) -> None:
        api, split = self.server.api, urlsplit(self.path)
        api.requests.append(f"GET {self.path}")
        query = {name: values[-1] for name, values in parse_qs(split.query).items()}
        if api.slow_s and not api.wait(api.slow_s):
            return
        if api.fault is Fault.HANG:
            api.wait(60)
            self.close_connection = True
            return
        try:
            user = self._user()
            if query.get("watch") in ("1", "true"):
                self._stream(api.watch(split.path, query))
                return
            code, body = 200, api.answer(split.path, query, user)
        except Problem as problem:
            code, body = problem.code, problem.body
        except LookupError:
            self._send(404, b"404 page not found\n", "text/plain; charset=utf-8")
            return
        self._send(*self._spoilt(code, body))

    def _user(self) -> str | None:
        """Tell who asks; None = nobody in particular."""
        scheme, _, token = (self.headers.get("Authorization") or "").partition(" ")
        if scheme:
            if token not in (ADMIN, VIEWER):
                raise Problem(401, "Unauthorized", "Unauthorized")
            return "admin" if token == ADMIN else "viewer"
        peer = (
            self.connection.getpeercert()
            if isinstance(self.connection, ssl.SSLSocket)
            else None
        )
        return "admin" if peer else None

    def _spoilt(self, code: int, body: Json) -> tuple[int, bytes, str]:
        fault = self.server.api.fault
        if fault in INSTEAD:
            return INSTEAD[fault]
        if fault in PROBLEMS:
            problem = Problem(*PROBLEMS[fault])
            code, body = problem.code, problem.body
        if fault is Fault.OTHER_OBJECT:
            body = {**body, "metadata": {**body["metadata"], "name": "somebody-else"}}
        return code, json.dumps(body).encode(), "application/json"

    def _send(self, code: int, body: bytes, kind: str) -> None:
        fault = self.server.api.fault
        head = f"HTTP/1.1 {code} -\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        if code == 302:
            head += "Location: https://127.0.0.1:1/login\r\n"
        raw = f"{head}\r\n".encode()
        with contextlib.suppress(OSError):  # the client had enough
            if fault is Fault.CLOSE:
                self.wfile.write(raw + body[: len(body) // 2])
                self.close_connection = True
            elif fault is Fault.TRICKLE:
                self.wfile.write(raw)
                self._trickle(body)
            elif fault is Fault.TRICKLE_HEADERS:
                self._trickle(raw[: raw.index(b"\r\n") + 2] + b"X-Padding: " + b"x" * 2000)
            else:
                self.wfile.write(raw + body)

    def _trickle(self, data: bytes) -> None:
        for byte in data:
            self.wfile.write(bytes([byte]))
            if not self.server.api.wait(0.05):
                return

    def _stream(self, events: Iterator[Json]) -> None:
        self.close_connection = True
        self.wfile.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n"
        )
        for event in events:
            self.wfile.write(json.dumps(event).encode() + b"\n")
