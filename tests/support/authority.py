"""An authority of certificates, and an etcd that wants them."""

import contextlib
import ipaddress
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from poolmgr.store.settings import Settings


@dataclass(frozen=True)
class Pair:
    """Files of a certificate and its key."""

    cert: Path
    key: Path


class Authority:
    """Signs certificates; its own is `ca`, made for ten years."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("authority")
        self.ca = self.signed("authority", days=3650).cert

    def signed(self, name: str, *, days: int) -> Pair:
        """Make a pair that expires in so many days; it has expired where they are negative."""
        own = name == "authority"
        key = self._key if own else ec.generate_private_key(ec.SECP256R1())
        local = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        end = datetime.now(UTC) + timedelta(days=days, hours=1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(_name(name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(end - timedelta(days=4000))
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=own, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([local]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}.key")
        pair.cert.write_bytes(certificate.public_bytes(Encoding.PEM))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pair.key.write_bytes(pem)
        pair.key.chmod(0o600)
        return pair


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


@contextlib.contextmanager
def etcd_with_tls(binary: str, authority: Authority, server: Pair, data: Path) -> Iterator[str]:
    """Start an etcd that lets in whom the authority has signed; return its URL."""
    client, peer = (_free_port() for _ in range(2))
    url, peer_url = f"https://127.0.0.1:{client}", f"http://127.0.0.1:{peer}"
    process = subprocess.Popen(
        [
            *(binary, f"--data-dir={data}", "--name=a", f"--initial-cluster=a={peer_url}"),
            *(f"--listen-client-urls={url}", f"--advertise-client-urls={url}"),
            *(f"--listen-peer-urls={peer_url}", f"--initial-advertise-peer-urls={peer_url}"),
            *(f"--cert-file={server.cert}", f"--key-file={server.key}"),
            *(f"--trusted-ca-file={authority.ca}", "--client-cert-auth"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={
            "PATH": os.defpath,
            "ETCD_UNSUPPORTED_ARCH": os.environ.get("ETCD_UNSUPPORTED_ARCH", ""),
        },
    )
    try:
        _await(client)
        yield url
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


def settings_for(url: str, authority: Authority, client: Pair) -> Settings:
    """How a client with a pair reaches it."""
    return Settings(
        endpoints=(url,),
        ca_file=str(authority.ca),
        cert_file=str(client.cert),
        key_file=str(client.key),
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await(port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        time.sleep(0.05)
    raise AssertionError("etcd does not start")
