"""
`poolctl node diags`: one archive with what a bug report needs, and without secrets.

Rules:

1. What cannot be found out is in the archive as well, as the error that kept us from it.
2. Nothing is copied as it is: all of it is what is left when secrets are masked. Keys and
   kubeconfigs are never opened.
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
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import click

from poolctl.config import Session
from poolctl.node.masking import Masker
from poolctl.report import document, say
from poolctl.version import versions
from poolmgr.api import KINDS
from poolmgr.cni.host import node_name
from poolmgr.cni.runtime import CONF_SUFFIXES
from poolmgr.errors import InvalidRequestError, PoolmgrError

_PACKAGES = ("click", "cryptography", "etcd3", "grpcio", "lightkube", "protobuf", "pydantic")
_LARGEST_CONF = 1024 * 1024


class _Part(NamedTuple):
    """
    What a part of the archive holds.

    Attributes:
        body: A text, or a value that is written as the part's name says.
        notes: Lines about how it came about.
    """

    body: Any
    notes: str = ""


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
        masker = Masker()
        made = _parts(context, conf_dir, bin_dirs, masker)
        found = {title: _tried(make) for title, make in made}
        for _ in range(2):  # What the first round found the second one masks elsewhere.
            found = {title: _masked(part, masker) for title, part in found.items()}
        parts = {title: _written(title, part) for title, part in found.items()}
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


def _tried(make: Callable[[], _Part]) -> _Part:
    try:
        return make()
    except PoolmgrError as error:
        return _Part(f"failed: {error}\n")
    except Exception as error:  # noqa: BLE001 - the bug to be reported may be this one
        return _Part(f"failed: {error!r}\n")


def _masked(part: _Part, masker: Masker) -> _Part:
    try:
        return _Part(masker.value(part.body), masker.text(part.notes))
    except RecursionError:
        return _Part("left out: nested too deeply, so that no secret in it can be told\n")


def _written(title: str, part: _Part) -> str:
    text = part.body
    if not isinstance(text, str):
        text = document(text, "yaml" if title.endswith(".yaml") else "json") + "\n"
    return f"{text}{part.notes}"


def _parts(
    context: click.Context, conf_dir: Path, bin_dirs: Sequence[Path], masker: Masker
) -> Iterator[tuple[str, Callable[[], _Part]]]:
    """Yield name and maker of each part; what is quick comes first."""
    session: Session = context.obj
    dirs = ["--conf-dir", str(conf_dir), *(f"--bin-dir={each}" for each in bin_dirs)]

    def run(*args: str) -> Callable[[], _Part]:
        return lambda: _run(context, args)

    yield "versions.yaml", lambda: _versions(session)
    yield "settings.yaml", lambda: _settings(session, masker)
    try:
        confs = [each for each in sorted(conf_dir.iterdir()) if each.suffix in CONF_SUFFIXES]
    except OSError as error:
        why = f"failed: {conf_dir}: {error.strerror}\n"
        yield "cni/failed.txt", lambda: _Part(why)
        confs = []
    for conf in confs:
        yield f"cni/{conf.name}", lambda conf=conf: _conf(conf)  # type: ignore[misc]
    yield "doctor.json", run("doctor", "-o", "json", *dirs)
    yield "node-status.json", run("node", "status", "-o", "json", *dirs)
    for kind in KINDS.values():
        yield f"resources/{kind.plural}.yaml", run("get", kind.plural, "-o", "json")
    yield "ipam-show.txt", run("ipam", "show", "--show-blocks")
    ipam = context.find_root().command.commands["ipam"]  # type: ignore[attr-defined]
    if "check" in ipam.commands:
        yield "ipam-check.txt", run("ipam", "check")


def _run(context: click.Context, args: tuple[str, ...]) -> _Part:
    """Run another command of poolctl; what it says on stderr, and its status, come last."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            context.find_root().command.main(list(args), obj=context.obj)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    said = "".join(f"# {line}\n" for line in err.getvalue().splitlines())
    text = out.getvalue()
    if not text.startswith("{"):
        return _Part(text, f"{said}# exit status {status}\n" if status else said)
    # JSON has no comments, and what reads it should not stumble over the status.
    return _Part(json.loads(text), said)


def _versions(session: Session) -> _Part:
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
    return _Part(found)


def _settings(session: Session, masker: Masker) -> _Part:
    settings = session.settings
    return _Part(
        {
            "etcd": session.etcd,
            "caFile": settings.ca_file,
            "certFile": settings.cert_file,
            "keyFile": settings.key_file,
            "username": settings.username,
            "password": masker.hidden(settings.password),
        }
    )


def _conf(file: Path) -> _Part:
    """Read a network configuration; what is not JSON is left out."""
    if not file.is_file() or file.stat().st_size > _LARGEST_CONF:
        return _Part("left out: not a regular file, or too large for a network configuration\n")
    try:
        return _Part(json.loads(file.read_bytes()))
    except (ValueError, RecursionError):
        return _Part("left out: not JSON, so that no secret in it can be told\n")
