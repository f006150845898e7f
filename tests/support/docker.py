"""
A docker daemon for tests, and images that are built without any registry.

Where no daemon answers, root gets a private one, in PID and mount namespaces of its own. The
first process there, a shell, ends when dockerd does. When the pipe closes whose other end we
hold, all others there are killed. So whatever ends the test run, `kill -9` too, also ends
dockerd, containerd and all containers, and the kernel unmounts what they mounted; the shell
around them, the keeper, removes what remains. Containers use the network of the host: there is
neither a bridge nor a firewall rule to collide with.

On a daemon that was there before, only an orderly end (Ctrl-C is one) removes what we made.
"""

import contextlib
import io
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from docker.errors import DockerException  # type: ignore[import-untyped]
from testcontainers.core.config import testcontainers_config
from testcontainers.core.docker_client import DockerClient, get_docker_host
from testcontainers.core.image import DockerImage

TIMEOUT_S = 20.0

# Hidden from docker, so that it neither reads nor writes there: its own settings and key,
# containerd's plugins, sockets of other daemons, and AppArmor, where its profile would outlive it.
# `exit` keeps shells from becoming dockerd, which as the first process `kill -1` would spare.
_INSIDE = """
for each in /etc /opt /run /sys/kernel/security; do
    [ ! -d $each ] || mount -t tmpfs tmpfs $each
done
exec 3<&0
{ read -r _ <&3 || kill -KILL -1; } &
dockerd --host="unix://$DIRECTORY/docker.sock" --group=0 --pidfile=/run/docker.pid \
    --data-root=/run/docker-data --exec-root=/run/docker --cgroup-parent="/${DIRECTORY##*/}" \
    --exec-opt=native.cgroupdriver=cgroupfs --bridge=none --iptables=false --ip-forward=false
exit
"""

_KEEPER = f"""
unshare --mount --pid --fork --kill-child --mount-proc sh -e -c '{_INSIDE}'
find /sys/fs/cgroup -depth -path "*/${{DIRECTORY##*/}}*" -type d -exec rmdir {{}} + 2>/dev/null
rm -rf "$DIRECTORY"
"""


@contextlib.contextmanager
def daemon() -> Iterator[None]:
    """Let testcontainers find a daemon, a private one if need be; skip if there can be none."""
    with pytest.MonkeyPatch.context() as patch, contextlib.ExitStack() as stack:
        # Nothing is to be pulled: neither the reaper nor our image by another name.
        patch.setattr(testcontainers_config, "ryuk_disabled", True)
        patch.setattr(testcontainers_config, "hub_image_name_prefix", "")
        if not _answers():
            if reason := _why_not():
                pytest.skip(f"no docker daemon answers, and none can be started: {reason}")
            patch.setenv("DOCKER_HOST", stack.enter_context(_private_daemon()))
        yield


@contextlib.contextmanager
def scratch_image(program: Path) -> Iterator[str]:
    """Build an image of nothing but a static program, its entry point, and return its id."""
    dockerfile = b'FROM scratch\nCOPY program /\nENTRYPOINT ["/program"]\n'
    context = io.BytesIO()  # not a directory: nothing can be left of it
    with tarfile.open(fileobj=context, mode="w") as tar:
        tar.add(program, "program")
        entry = tarfile.TarInfo("Dockerfile")
        entry.size = len(dockerfile)
        tar.addfile(entry, io.BytesIO(dockerfile))
    context.seek(0)
    with DockerImage(".", fileobj=context, custom_context=True) as image:
        yield str(image)


def _why_not() -> str:
    """Say why no daemon can be started here; "" = one can be tried."""
    if os.geteuid() != 0:
        return "that needs root"
    missing = [tool for tool in ("dockerd", "unshare") if shutil.which(tool) is None]
    return f"missing: {', '.join(missing)} (./dev prepare installs them)" if missing else ""


@contextlib.contextmanager
def _private_daemon() -> Iterator[str]:
    """Start a daemon and return its address; skip where it does not start."""
    directory = Path(tempfile.mkdtemp(prefix="poolmgr-docker-"))
    host = f"unix://{directory}/docker.sock"
    with tempfile.TemporaryFile() as log:
        keeper = subprocess.Popen(
            ["sh", "-c", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "DIRECTORY": str(directory)},
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        with keeper:  # closes the pipe and waits
            if not _comes_up(host, keeper):
                log.seek(0)
                lines = log.read().decode(errors="replace").splitlines() or ["no answer"]
                pytest.skip(f"dockerd does not start here: {lines[-1]}")
            yield host


def _comes_up(host: str, keeper: subprocess.Popen[bytes]) -> bool:
    """Wait until the daemon answers, or cannot any more."""
    deadline = time.monotonic() + TIMEOUT_S
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_HOST", host)
        while not _answers():
            if keeper.poll() is not None or time.monotonic() > deadline:
                return False
            time.sleep(0.05)
    return True


def _answers() -> bool:
    """Tell whether a daemon answers where testcontainers looks for it."""
    host = get_docker_host() or "unix:///var/run/docker.sock"
    try:
        # The docker package leaves a socket open when it cannot connect.
        if host.startswith("unix://"):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(host.removeprefix("unix://"))
        DockerClient().client.close()  # opening it asks for the version
    except (DockerException, OSError):
        return False
    return True
