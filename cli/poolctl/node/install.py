"""
Put the CNI executable and its agentless entry point where a runtime looks for plugins.

`<dir>/poolmgr-ipam` is the shim, with an interpreter in its first line that was tried just now;
`<dir>/poolmgr-ipam.direct` starts this installation's Python.
"""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from poolctl.files import new_file
from poolmgr.errors import InvalidRequestError

NAME = "poolmgr-ipam"
_SYSTEM_PYTHON = "/usr/bin/python3"
_SHEBANG_LIMIT_BYTES = 127  # Linux before 5.1; what is longer is cut off silently
_SHIM_PROBE = "import sys, posix, _socket; sys.exit(sys.version_info < (3, 8))"
_DIRECT_PROBE = "import poolmgr.cni.direct"
_PROBE_TIMEOUT_S = 30


def install(bin_dir: Path, python: str = sys.executable) -> list[Path]:
    """
    Install the plugin into `bin_dir`, over an older one if there is one.

    Files are renamed into place, the shim last: a runtime never finds a part of the plugin.

    Args:
        bin_dir: The runtime's plugin directory, usually /opt/cni/bin; must exist.
        python: Interpreter of the agentless entry point; must be able to import poolmgr.

    Returns:
        The files written.

    Raises:
        InvalidRequestError: The directory or an interpreter is not usable.
    """
    direct = f"{_first_line(python, '-I')}\nfrom poolmgr.cni.direct import main; main()\n"
    if not _runs(python, "-I", _DIRECT_PROBE):
        raise InvalidRequestError(
            f"{python} -I cannot import poolmgr: run poolctl from where poolmgr is installed"
        )
    _, _, code = _shim().read_text(encoding="utf-8").partition("\n")
    shim = f"{_first_line(_shim_python(python), '-IS')}\n{code}"
    target = bin_dir / NAME
    return [_write(target.with_name(f"{NAME}.direct"), direct), _write(target, shim)]


def uninstall(bin_dir: Path) -> list[Path]:
    """
    Remove the plugin from `bin_dir` and return the files removed; absent ones are fine.

    Raises:
        InvalidRequestError: A file cannot be removed.
    """
    removed = []
    for path in (bin_dir / NAME, bin_dir / f"{NAME}.direct"):
        try:
            path.unlink()
        except FileNotFoundError:
            continue
        except OSError as err:
            raise InvalidRequestError(f"{path} cannot be removed: {err.strerror}") from err
        removed.append(path)
    return removed


def _shim() -> Path:
    """Find the shim: in the source tree of this file, else among the wheel's data."""
    candidates = (
        Path(__file__).parents[2] / "cni_shim" / "poolmgr_ipam.py",
        Path(sysconfig.get_path("data")) / "libexec" / "poolmgr" / NAME,
        Path(sysconfig.get_path("data", f"{os.name}_user")) / "libexec" / "poolmgr" / NAME,
    )
    for path in candidates:
        if path.is_file():
            return path
    raise InvalidRequestError(
        f"the CNI executable is not part of this installation; looked at {candidates[1]}"
    )


def _shim_python(python: str) -> str:
    """Return an interpreter that runs the shim: the system's, which outlives virtualenvs."""
    candidates = (_SYSTEM_PYTHON, os.path.realpath(python))
    for candidate in candidates:
        if _runs(candidate, "-IS", _SHIM_PROBE):
            return candidate
    raise InvalidRequestError(
        f"no Python 3.8 or later runs the CNI executable; tried {' and '.join(candidates)}"
    )


def _runs(python: str, flags: str, code: str) -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - the administrator's own choice of interpreter
            [python, flags, "-c", code],
            check=False,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _first_line(python: str, flags: str) -> str:
    line = f"#!{python} {flags}"
    if not python.startswith("/") or any(char.isspace() for char in python):
        raise InvalidRequestError(
            f"interpreter {python!r} cannot stand in a script's first line: "
            "it must be an absolute path without white space"
        )
    if len(os.fsencode(line)) > _SHEBANG_LIMIT_BYTES:
        raise InvalidRequestError(
            f"interpreter {python} is too long for a script's first line "
            f"({_SHEBANG_LIMIT_BYTES} bytes); install poolmgr under a shorter path"
        )
    return line


def _write(path: Path, text: str) -> Path:
    """Write an executable file: complete and on disk before it has its name."""
    try:
        with new_file(path) as file:
            file.write(text.encode())
            os.fchmod(file.fileno(), 0o755)
    except OSError as err:
        raise InvalidRequestError(f"{path} cannot be written: {err.strerror}") from err
    return path
