"""What `poolctl doctor` thinks of the way to etcd: encryption, certificates, keys."""

import ipaddress
import stat
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from poolctl.doctor.findings import Finding, ok, problem, unknown, warning
from poolctl.doctor.greeting import Greeting
from poolmgr.store.settings import Settings

_SOON_DAYS = 30
_DAY_S = 86_400


def examine(settings: Settings, greetings: Sequence[Greeting]) -> Iterator[Finding]:
    """Judge how etcd is reached, and until when that works."""
    tls = {each.endpoint for each in greetings if each.certificate}
    yield from _encryption(settings, tls)
    for title, file in (
        ("certificate authority", settings.ca_file),
        ("client certificate", settings.cert_file),
    ):
        if file:
            yield _file(f"{title} {file}", Path(file))
    if settings.key_file:
        yield _key(Path(settings.key_file))
    for greeting in greetings:
        if greeting.certificate:
            yield _expiry(f"server certificate of {greeting.endpoint}", greeting.certificate)
        elif greeting.date and greeting.endpoint.startswith("https"):
            yield unknown("tls", f"{greeting.endpoint} does not show its certificate")


def _encryption(settings: Settings, tls: set[str]) -> Iterator[Finding]:
    """Judge it; `tls` are the endpoints that speak TLS, whatever the settings say."""
    unencrypted = [
        each for each in settings.addresses if each.scheme == "http" and str(each) not in tls
    ]
    plain = [str(each) for each in unencrypted if not _is_loopback(each.host.strip("[]"))]
    if plain:
        yield warning(
            "tls",
            f"{', '.join(plain)}: whoever is on the way can read and change everything",
            "serve etcd by https://, with certificates for clients, too",
        )
    elif len(unencrypted) == len(settings.addresses):
        yield ok("tls", "none is needed: etcd is on this host")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _file(title: str, file: Path) -> Finding:
    try:
        return _expiry(title, file.read_bytes())
    except OSError as error:
        return problem("tls", f"{title}: {error.strerror}", "put it there, readable")


def _expiry(title: str, data: bytes) -> Finding:
    """Judge certificates in PEM or DER form by the one that expires first."""
    from cryptography import x509

    try:
        found = (
            x509.load_pem_x509_certificates(data)
            if b"-----BEGIN" in data
            else [x509.load_der_x509_certificate(data)]
        )
        end = min(each.not_valid_after_utc for each in found)
    except ValueError as error:
        return unknown("tls", f"{title} cannot be understood: {error}")
    days = int((end.timestamp() - time.time()) // _DAY_S)
    fact = f"{title} expires on {end:%Y-%m-%d}, in {days:,} days"
    if days < 0:
        return problem(
            "tls", f"{title} expired on {end:%Y-%m-%d}", "renew it: connections are refused"
        )
    if days < _SOON_DAYS:
        return warning("tls", fact, "renew it before that: connections will be refused")
    return ok("tls", fact)


def _key(file: Path) -> Finding:
    try:
        mode = stat.S_IMODE(file.stat().st_mode)
    except OSError as error:
        return problem("tls", f"key {file}: {error.strerror}", "put it there, readable")
    if mode & 0o077:
        return warning(
            "tls",
            f"key {file} has mode {mode:04o}: others than its owner can use it",
            f"chmod 0600 {file}",
        )
    return ok("tls", f"key {file} is its owner's alone")
