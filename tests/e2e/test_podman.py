"""A real container runtime: podman, which runs our plugin below the real main plugins."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.netns import Json, Node, delegating

pytestmark = pytest.mark.netns

PODMAN = ("podman", "conmon", "runc", "ldd")


class Podman:
    """Podman on a node, with what it needs in `directory`; containers live in /run and /var there."""

    def __init__(
        self, node: Node, directory: Path, plugin_path: tuple[Path, ...], cgroup: str
    ) -> None:
        self._node, self._directory, self._cgroup = node, directory, cgroup
        # Containers, locks and caches are the node's own, like its /run.
        node.sh(
            "mount -t tmpfs tmpfs /dev/shm; mkdir /run/upper /run/work; "
            "mount -t overlay -o lowerdir=/var,upperdir=/run/upper,workdir=/run/work overlay /var"
        )
        self._rootfs = make_rootfs(directory / "rootfs", "sleep", "ping")
        self._networks = directory / "net.d"
        self._networks.mkdir()
        settings = {
            "network_backend": "cni",
            "cni_plugin_dirs": [str(each) for each in plugin_path],
            "network_config_dir": str(self._networks),
        }
        lines = [f"{name} = {json.dumps(value)}" for name, value in settings.items()]
        (directory / "containers.conf").write_text("\n".join(["[network]", *lines]))

    def network(self, name: str, main: Json) -> None:
        """Configure a network."""
        conf = {"cniVersion": "0.4.0", "name": name, "plugins": [main]}
        (self._networks / f"{name}.conflist").write_text(json.dumps(conf))

    def start(self, name: str, network: str, *options: str) -> str:
        """Start a container that does nothing, and return its id."""
        limits = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
        return self(
            *("run", "--detach", f"--name={name}", f"--network={network}", *limits, *options),
            *(f"--cgroup-parent=/{self._cgroup}", "--rootfs", self._rootfs, "sleep", "60"),
        ).strip()

    def __call__(self, *arguments: str | Path) -> str:
        options = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none")
        env = {"CONTAINERS_CONF": str(self._directory / "containers.conf"), "HOME": "/run"}
        done = self._node.run("podman", *options, *arguments, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout


def make_rootfs(root: Path, *programs: str) -> Path:
    """Copy programs of this machine, and the libraries they need, into a new root."""
    for name in ("dev", "etc", "proc", "run", "sys", "tmp"):
        (root / name).mkdir(parents=True)
    for program in programs:
        path = shutil.which(program)
        assert path is not None
        needs = subprocess.run(["ldd", path], capture_output=True, text=True, check=True)
        for file in (path, *re.findall(r"/\S+", needs.stdout)):
            copy = root / file.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, copy)
    return root


@pytest.fixture
def node(cgroup, node):
    """The node, which is gone with all containers before the control group is removed."""
    return node


@pytest.fixture
def podman(node, cgroup, plugin_path, tmp_path):
    missing = [name for name in PODMAN if shutil.which(name) is None]
    if missing:
        pytest.skip(f"missing: {', '.join(missing)} (./dev prepare installs podman)")
    runtime = Podman(node, tmp_path, plugin_path, cgroup)
    backend = runtime("info", "--format={{.Host.NetworkBackend}}").strip()
    if backend != "cni":
        pytest.skip(f"this podman has no CNI; its network backend is {backend}")
    return runtime


@pytest.mark.parametrize(
    "main",
    [{"type": "ptp"}, {"type": "bridge", "bridge": "br0", "isGateway": True}],
    ids=["ptp", "bridge"],
)
def test_containers_reach_each_other_and_their_gateways_and_leave_nothing(
    podman, cluster, node, main
):
    cluster.pool("pool-0", "10.64.0.16/28", 30)
    cluster.pool("pool-1", "fd00:64::10/124", 126)
    podman.network("net1", delegating(main, node, assign_ipv6=True))

    ids = [podman.start(name, "net1") for name in ("one", "two")]

    shown = [
        json.loads(podman("inspect", name, "--format={{json .NetworkSettings.Networks.net1}}"))
        for name in ("one", "two")
    ]
    held = [{each["IPAddress"], each["GlobalIPv6Address"]} for each in shown]
    gateways = [(each["Gateway"], each["IPv6Gateway"]) for each in shown]
    assert gateways == [("10.64.0.17", "fd00:64::11")] * 2
    assert cluster.handles() == {f"net1.{each}" for each in ids}
    assert set(cluster.assigned()) == held[0] | held[1]
    assert len(held[0] | held[1]) == 4

    for address in (*held[1], *gateways[0]):
        podman("exec", "one", "ping", "-c1", "-w5", address)
    podman("rm", "--force", "--time=0", "one", "two")

    assert (cluster.assigned(), cluster.handles()) == ({}, set())
    assert node.links() - {"br0"} == {"lo"}


def test_a_container_gets_the_address_it_asks_for(podman, cluster, node):
    cluster.pool("pool-0", "10.64.0.16/28", 30)
    podman.network("net1", delegating({"type": "ptp"}, node))

    started = podman.start("one", "net1", "--ip=10.64.0.25")

    assert cluster.assigned() == {"10.64.0.25": f"net1.{started}"}
    podman("exec", "one", "ping", "-c1", "-w5", "10.64.0.17")
