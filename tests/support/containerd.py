"""
containerd on a node of its own, driven as a kubelet drives it.

Whatever runs there is in the node's namespaces, and ends with the node. What a reboot of the node
spares lies in one directory, its disk: containerd's images and metadata, and the cache of libcni
in /var/lib/cni, a path that containerd cannot change. The node's /run is lost with it.
"""

import hashlib
import io
import json
import platform
import shutil
import struct
import sys
import tarfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import grpc

from tests.support.cri import Cri, pairs
from tests.support.netns import Json, Node, delegating

PROGRAMS = ("containerd", "ctr", "runc")
POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"

_IMAGE = "poolmgr.test/sandbox:1"
_START_S = 30
_PATIENCE_S = 120
_NOT_NOW = (
    "trying again is safe"  # what our plugin says with error 11; its number is not passed on
)
_MACHINE = "x86_64"

# mov eax, 34 (pause); syscall; jmp to the first instruction.
_PAUSE = bytes.fromhex("b822000000 0f05 ebf7")

_SETTINGS = """
version = 2
root = "{disk}/containerd"
state = "/run/containerd/state"
disabled_plugins = [{disabled}]

[grpc]
address = "{disk}/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "{disk}/opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{image}"
# Without CAP_SYS_RESOURCE nothing may have a lower score than containerd has, as sandboxes do.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "{disk}/bin"
conf_dir = "{disk}/net.d"
"""
_DISABLED = ("aufs", "btrfs", "devmapper", "overlayfs", "zfs")

# Nothing is written to the real /var.
_START = """
mkdir -p /run/upper /run/work "$1/cni" "$1/containerd"
mount -t overlay -o lowerdir=/var,upperdir=/run/upper,workdir=/run/work overlay /var
mkdir -p /var/lib/cni
mount --bind "$1/cni" /var/lib/cni
containerd --config "$1/config.toml" </dev/null >>"$1/log" 2>&1 &
"""


def why_not() -> str:
    """Say why there can be no containerd here; "" = there can."""
    if platform.machine() != _MACHINE:
        return f"the sandbox's program is machine code of {_MACHINE}"
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    return f"missing: {', '.join(missing)} (./dev prepare installs them)" if missing else ""


@dataclass(frozen=True)
class Sandbox:
    """
    A pod sandbox that runs.

    Attributes:
        addresses: In the runtime's order.
        namespace: Name of its network namespace on the node.
    """

    id: str
    addresses: tuple[str, ...]
    namespace: str


class Machine:
    """
    A node with containerd. A context manager.

    Attributes:
        node: Another one after a reboot.
        conflist: The network configuration that containerd uses.
        cri: For calls beyond those here.
    """

    def __init__(
        self, name: str, etcd_endpoint: str, disk: Path, plugins: Path, cgroup: str
    ) -> None:
        """
        Prepare the disk; `boot` does the rest.

        Args:
            disk: An empty directory, of a short path: there is a unix socket in it.
            plugins: Directory of the reference plugins; ours is installed beside links to them.
            cgroup: Name of a control group for all sandboxes.
        """
        self._name, self._etcd_endpoint = name, etcd_endpoint
        self._disk, self._cgroup = disk, cgroup
        self.conflist = disk / "net.d" / "10-net1.conflist"
        for directory in ("bin", "net.d"):
            (disk / directory).mkdir()
        for plugin in plugins.iterdir():
            (disk / "bin" / plugin.name).symlink_to(plugin)
        disabled = ", ".join(f'"io.containerd.snapshotter.v1.{name}"' for name in _DISABLED)
        settings = _SETTINGS.format(disk=disk, image=_IMAGE, disabled=disabled)
        (disk / "config.toml").write_text(settings)
        (disk / "image.tar").write_bytes(_image())
        self._up = False

    def boot(self, main: Json, **ipam: object) -> None:
        """Start the machine with a network of this main plugin, and `ipam` for ours."""
        self.node = Node(self._name, self._etcd_endpoint)
        self.cri = Cri(str(self._disk / "containerd.sock"))
        self._up = True
        self.poolctl("node", "install", "--bin-dir", str(self._disk / "bin"))
        plugin = delegating(main, self.node, **ipam)
        plugin["capabilities"] = {POD_ANNOTATIONS: True}
        conf = {"cniVersion": "1.0.0", "name": "net1", "plugins": [plugin]}
        self.conflist.write_text(json.dumps(conf))
        self.node.sh(_START, str(self._disk))
        self._wait_until_gone(self._unready)
        ctr = ("ctr", f"--address={self._disk}/containerd.sock", "--namespace=k8s.io")
        self._run(*ctr, "images", "import", "--snapshotter=native", self._disk / "image.tar")
        self._wait_until_gone(self._without_image)

    def power_off(self) -> None:
        """End everything at once; nothing is told to go."""
        if self._up:
            self._up = False
            self.cri.close()
            self.node.stop()

    def forget(self) -> None:
        """Lose what containerd and libcni keep on disk; the machine must be off."""
        assert not self._up
        for directory in ("containerd", "cni"):
            shutil.rmtree(self._disk / directory)

    def __enter__(self) -> "Machine":
        return self

    def __exit__(self, *_: object) -> None:
        self.power_off()

    def run(self, pod: str, annotations: Mapping[str, str] | None = None) -> Sandbox:
        """Start a sandbox for a pod of namespace `default`."""
        config = {
            "metadata": {"name": pod, "uid": f"uid-of-{pod}", "namespace": "default"},
            "annotations": pairs(annotations or {}),
            "linux": {"cgroup_parent": f"/{self._cgroup}"},
        }
        sandbox = self._insist("RunPodSandbox", config=config)["pod_sandbox_id"]
        shown = self.cri("PodSandboxStatus", pod_sandbox_id=sandbox, verbose=True)
        network = shown["status"]["network"]
        (info,) = (json.loads(each["value"]) for each in shown["info"] if each["key"] == "info")
        (namespace,) = (
            Path(each["path"]).name
            for each in info["runtimeSpec"]["linux"]["namespaces"]
            if each["type"] == "network"
        )
        more = (each["ip"] for each in network.get("additional_ips", ()))
        return Sandbox(sandbox, (network["ip"], *more), namespace)

    def stop(self, sandbox: str) -> None:
        """Stop a sandbox and remove it."""
        self._insist("StopPodSandbox", pod_sandbox_id=sandbox)
        self._insist("RemovePodSandbox", pod_sandbox_id=sandbox)

    def known(self) -> set[str]:
        """Return the ids of all sandboxes that containerd knows, whatever became of them."""
        return {each["id"] for each in self.cri("ListPodSandbox").get("items", ())}

    def poolctl(self, *arguments: str) -> str:
        """Run poolctl on the node, and return what it prints."""
        return self._run(sys.executable, "-m", "poolctl.main", *arguments)

    def _insist(self, method: str, **request: object) -> Json:
        """Call until it is done, as a kubelet does; the plugins may be too slow for their deadline."""
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                return self.cri(method, **request)
            except grpc.RpcError as err:
                if _NOT_NOW not in err.details() or time.monotonic() > deadline:
                    raise

    def _run(self, *argv: str | Path) -> str:
        done = self.node.run(*argv)
        assert done.returncode == 0, f"{argv}: {done.stdout}{done.stderr}"
        return done.stdout

    def _wait_until_gone(self, problem_of: Callable[[], str]) -> None:
        deadline = time.monotonic() + _START_S
        while problem := problem_of():
            assert time.monotonic() < deadline, f"{problem}\n{self.log()}"
            time.sleep(0.05)

    def _unready(self) -> str:
        """Say what containerd waits for; "" = nothing."""
        try:
            conditions = self.cri("Status")["status"]["conditions"]
        except grpc.RpcError as err:
            return str(err)
        return "".join(each["message"] for each in conditions if not each.get("status"))

    def _without_image(self) -> str:
        """Say whether containerd would pull the image that was imported a moment ago; "" = no."""
        reply = self.cri("ImageStatus", image={"image": _IMAGE})
        return "" if "image" in reply else f"there is no image {_IMAGE}"

    def log(self) -> str:
        """Return the end of containerd's log."""
        return "\n".join((self._disk / "log").read_text().splitlines()[-20:])


def _program() -> bytes:
    """Return a static program that does nothing until it is killed: 129 bytes of ELF."""
    base, headers = 0x400000, 64 + 56
    size = headers + len(_PAUSE)
    file = struct.pack(
        "<16sHHIQQQIHHHHHH",
        *(b"\x7fELF\x02\x01\x01", 2, 62, 1, base + headers, 64, 0, 0, 64, 56, 1, 0, 0, 0),
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return file + segment + _PAUSE


def _image() -> bytes:
    """Return an image of that program as `docker save` writes it."""
    layer = _tar({"sandbox": _program()})
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": ["/sandbox"]},
        "rootfs": {
            "type": "layers",
            "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"],
        },
    }
    manifest = [{"Config": "config.json", "RepoTags": [_IMAGE], "Layers": ["layer.tar"]}]
    return _tar(
        {
            "config.json": json.dumps(config).encode(),
            "layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )


def _tar(files: Mapping[str, bytes]) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(content), 0o755
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()
