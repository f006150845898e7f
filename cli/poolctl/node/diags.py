"""
`poolctl node diags`: one archive with what a bug report needs, and without secrets.

Rules:

1. What cannot be found out is in the archive as well, as the error that kept us from it.
2. No file that may hold a secret is copied as it is: of settings only names, of network
   configurations what is left when secrets are masked. Keys and kubeconfigs are never opened.
3. Nobody else may read the archive, and no file is overwritten by it.
"""

import contextlib
import io
import json
import os
import platform
import re
import sys
import tarfile
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import click
import yaml

from poolctl.config import Session
from poolctl.report import say
from poolctl.version import versions
from poolmgr.api import KINDS
from poolmgr.cni.host import node_name
from poolmgr.cni.runtime import CONF_SUFFIXES
from poolmgr.errors import InvalidRequestError, PoolmgrError

MASK = "(masked)"
_PACKAGES = ("click", "cryptography", "etcd3", "grpcio", "lightkube", "protobuf", "pydantic")
_LARGEST_CONF = 1024 * 1024

_SHORTEST = 4
_SECRET = re.compile(r"token|passw|secret|credential|key[-_]?data|key$", re.IGNORECASE)
_PEM = re.compile(r"-----BEGIN [^-]*-----.*?(?:-----END [^-]*-----|\Z)", re.DOTALL)
_USER = re.compile(r"(?<=://)[^/@\s\"]+(?=@)")


def write(
    context: click.Context, file: Path | None, conf_dir: Path, bin_dirs: Sequence[Path]
) -> None:
    """
    Write the archive, and say what is in it.

    Args:
        context: Of the command; the other commands are run as it was, in the same session.
        file: None = a name with host and time, in the working directory.

    Raises:
        InvalidRequestError: There is such a file, or it cannot be written.
    """
    host = re.sub(r"[^A-Za-z0-9._-]", "_", platform.node()) or "host"
    name = f"poolctl-diags-{host}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    file = file or Path(f"{name}.tar.gz")
    with _created(file) as out:
        secrets: set[str] = set()
        made = _parts(context, conf_dir, bin_dirs, secrets)
        parts = {title: _tried(make) for title, make in made}
        parts = {title: _without(secrets, text) for title, text in parts.items()}
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for title, text in parts.items():
                _add(archive, f"{name}/{title}", text)
    say(f"{file} written; it holds, under {name}/:")
    for title, text in parts.items():
        say(f"  {title}, {len(text.encode()):,} bytes")
    say(
        "Passwords, tokens and keys are masked; names and addresses of nodes, pods and pools "
        "are not. Look at it before you hand it on."
    )


@contextlib.contextmanager
def _created(file: Path) -> Iterator[io.BufferedWriter]:
    """Open a new file for its owner alone; it does not stay if it is not finished."""
    try:
        number = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise InvalidRequestError(f"{file} exists; it is not overwritten") from None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise InvalidRequestError(f"cannot write {file}: {why}") from error
    try:
        with open(number, "wb") as out:
            yield out
    except BaseException:
        file.unlink(missing_ok=True)
        raise


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8", "backslashreplace")
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o600, int(time.time())
    archive.addfile(info, io.BytesIO(data))


def _tried(make: Callable[[], str]) -> str:
    try:
        return make()
    except PoolmgrError as error:
        return f"failed: {error}\n"
    except Exception as error:  # noqa: BLE001 - the bug to be reported may be this one
        return f"failed: {error!r}\n"


def _parts(
    context: click.Context, conf_dir: Path, bin_dirs: Sequence[Path], secrets: set[str]
) -> Iterator[tuple[str, Callable[[], str]]]:
    """Yield name and maker of each part; what is quick comes first."""
    session: Session = context.obj
    dirs = ["--conf-dir", str(conf_dir), *(f"--bin-dir={each}" for each in bin_dirs)]

    def run(*args: str) -> Callable[[], str]:
        return lambda: _run(context, args)

    yield "versions.yaml", lambda: _versions(session)
    yield "settings.yaml", lambda: _settings(session, secrets)
    try:
        confs = [each for each in sorted(conf_dir.iterdir()) if each.suffix in CONF_SUFFIXES]
    except OSError as error:
        why = f"failed: {conf_dir}: {error.strerror}\n"
        yield "cni/failed.txt", lambda: why
        confs = []
    for conf in confs:
        yield f"cni/{conf.name}", lambda conf=conf: _conf(conf, secrets)  # type: ignore[misc]
    yield "doctor.json", run("doctor", "-o", "json", *dirs)
    yield "node-status.json", run("node", "status", "-o", "json", *dirs)
    for kind in KINDS.values():
        yield f"resources/{kind.plural}.yaml", run("get", kind.plural, "-o", "yaml")
    yield "ipam-show.txt", run("ipam", "show", "--show-blocks")
    ipam = context.find_root().command.commands["ipam"]  # type: ignore[attr-defined]
    if "check" in ipam.commands:
        yield "ipam-check.txt", run("ipam", "check")


def _run(context: click.Context, args: tuple[str, ...]) -> str:
    """Run another command of poolctl; what it says on stderr, and its status, come last."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            context.find_root().command.main(list(args), obj=context.obj)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    said = "".join(f"# {line}\n" for line in err.getvalue().splitlines())
    # JSON has no comments, and what reads it should not stumble over one.
    last = f"# exit status {status}\n" if status and not out.getvalue().startswith("{") else ""
    return f"{out.getvalue()}{said}{last}"


def _versions(session: Session) -> str:
    found: dict[str, Any] = {
        "python": sys.version.split()[0],
        "system": platform.platform(),
        "node": node_name({}),
        "packages": {},
    }
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found["packages"][package] = version(package)
    try:
        found |= versions(session, cluster=True)
    except PoolmgrError as error:
        found |= versions(session, cluster=False) | {"cluster": f"failed: {error}"}
    return str(yaml.safe_dump(found, sort_keys=False))


def _settings(session: Session, secrets: set[str]) -> str:
    settings = session.settings
    secrets |= {settings.password} if settings.password else set()
    value = {
        "etcd": session.etcd,
        "caFile": settings.ca_file,
        "certFile": settings.cert_file,
        "keyFile": settings.key_file,
        "username": settings.username,
        "password": MASK if settings.password else None,
    }
    return str(yaml.safe_dump(value, sort_keys=False))


def _conf(file: Path, secrets: set[str]) -> str:
    """Copy a network configuration without its secrets; what is not JSON is left out."""
    if not file.is_file() or file.stat().st_size > _LARGEST_CONF:
        return "left out: not a regular file, or too large for a network configuration\n"
    try:
        return json.dumps(masked(json.loads(file.read_bytes()), secrets), indent=2) + "\n"
    except (ValueError, RecursionError):
        return "left out: not JSON, so that no secret in it can be told\n"


def masked(value: Any, secrets: set[str], key: str = "") -> Any:
    """
    Copy a JSON value, secrets masked: by their keys, or because they look like secrets.

    Args:
        secrets: What was masked is added to it: an error may quote it elsewhere.
        key: Under which the value stands.
    """
    if isinstance(value, dict):
        return {name: masked(each, secrets, name) for name, each in value.items()}
    if isinstance(value, list):
        return [masked(each, secrets, key) for each in value]
    if not value or isinstance(value, bool) or _is_path(value):
        return value
    text = str(value)
    with_user = "endpoint" in key.lower() and "@" in text
    if with_user or _SECRET.search(key):
        secrets.add(text)
        return MASK
    return _without((), value) if isinstance(value, str) else value


def _is_path(value: Any) -> bool:
    """Tell whether a value names a file, and is nothing that base64 could be as well."""
    return isinstance(value, str) and re.fullmatch(r"(/[\w.-]+)+\.\w{1,10}", value) is not None


def _without(secrets: Collection[str], text: str) -> str:
    """Mask the given secrets in a text, and what looks like one."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) >= _SHORTEST:  # more often a part of another word than a secret
            text = text.replace(secret, MASK)
    return _USER.sub(MASK, _PEM.sub(MASK, text))
