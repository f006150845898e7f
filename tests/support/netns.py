"""
Nodes and pods as network namespaces, and a runtime that calls CNI plugins there.

A node is one process, the keeper, in network, mount and process namespaces of its own, with its
own /run. Whatever runs on the node is started through `nsenter`. The keeper ends when its standard
input does, and with it the kernel kills what runs there: a node, its interfaces and the namespaces
of its pods are gone as soon as the test run is, however that ends. Nothing of it shows on the real
host.

The etcd of the tests listens on the real host. A node reaches it at the same address and port of
its own loopback, where a relay listens.
"""

import ctypes
import json
import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

Json = dict[str, Any]

PLUGIN_DIRS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
PLUGINS = ("bridge", "macvlan", "ptp", "tuning")
TOOLS = ("ip", "mount", "nsenter", "ping", "sysctl", "unshare")
TIMEOUT_S = 30

_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
# While an IPv6 address is tentative it answers nobody, for up to two seconds; tests do not wait.
_NETWORK = """
ip link set lo up
sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
"""
_KEEPER = f"""
mount -t tmpfs tmpfs /run
{_NETWORK}
echo ready
read -r _
"""


def plugin_dir() -> Path | None:
    """Find the reference plugins."""
    for directory in PLUGIN_DIRS:
        if all((directory / name).exists() for name in PLUGINS):
            return directory
    return None


def why_not() -> str:
    """Say why there can be no nodes here; "" = there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if plugin_dir() is None:
        missing.append(f"the CNI plugins {', '.join(PLUGINS)}")
    if missing:
        return f"missing: {', '.join(missing)} (./dev prepare installs them)"
    probe = subprocess.run([*_UNSHARE, "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {probe.stderr.strip()}" if probe.returncode else ""


class Relay:
    """
    Makes a TCP service of the real host reachable in the network namespace of a process.

    Attributes:
        endpoint: "address:port", the same on both sides.
    """

    def __init__(self, pid: int, endpoint: str) -> None:
        self.endpoint = endpoint
        host, _, port = endpoint.rpartition(":")
        self._address = (host, int(port))
        with ThreadPoolExecutor(1) as visitor:  # only this thread goes there
            self._server = visitor.submit(_listener_in, pid, self._address).result()
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def stop(self) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for each in self._sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for each in (self._server, *self._sockets):
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):  # the end
            while True:
                inner, _ = self._server.accept()
                self._sockets.append(inner)
                outer = socket.create_connection(self._address)
                self._sockets.append(outer)
                for pair in ((inner, outer), (outer, inner)):
                    self._threads.append(threading.Thread(target=_pump, args=pair, daemon=True))
                    self._threads[-1].start()


def _listener_in(pid: int, address: tuple[str, int]) -> socket.socket:
    """Open a listening socket in another namespace; the calling thread does not come back."""
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), "setns failed")
    return socket.create_server(address)


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    with suppress(OSError):
        sink.shutdown(socket.SHUT_WR)


class Node:
    """
    A machine of a cluster: namespaces of its own. A context manager.

    Attributes:
        name: As poolmgr knows it.
        etcd_endpoint: Of an etcd on the real host; works on the node, too.
    """

    def __init__(self, name: str, etcd_endpoint: str) -> None:
        self.name = name
        self.etcd_endpoint = etcd_endpoint
        self._keeper = subprocess.Popen(
            [*_UNSHARE, "sh", "-e", "-c", _KEEPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is ours to handle
        )
        assert self._keeper.stdin is not None
        assert self._keeper.stdout is not None
        self._hold, self._output = self._keeper.stdin, self._keeper.stdout
        assert self._output.readline() == b"ready\n"
        self._relay = Relay(self._keeper.pid, etcd_endpoint)

    def stop(self) -> None:
        self._relay.stop()
        self._hold.close()
        self._keeper.wait()
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def run(
        self, *argv: str | Path, env: Mapping[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a program on the node."""
        namespaces = f"/proc/{self._keeper.pid}/ns"
        enter = (f"--net={namespaces}/net", f"--mount={namespaces}/mnt")
        return subprocess.run(
            ["nsenter", *enter, f"--pid={namespaces}/pid_for_children", *map(str, argv)],
            env={"PATH": os.environ.get("PATH", os.defpath), **(env or {})},
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=TIMEOUT_S,
        )

    def sh(self, script: str, *arguments: str, pod: str = "") -> str:
        """Run a shell script on the node, or in a pod, and return what it prints; failing is an error."""
        inside = ("ip", "netns", "exec", pod) if pod else ()
        done = self.run(*inside, "sh", "-e", "-c", script, "sh", *arguments)
        assert (done.returncode, done.stderr) == (0, ""), script
        return done.stdout

    def add_pod(self, name: str) -> None:
        """Make a pod's namespace."""
        self.sh('ip netns add "$1"', name)
        self.sh(_NETWORK, pod=name)

    def remove_pod(self, name: str) -> None:
        self.sh('ip netns delete "$1"', name)

    def links(self, pod: str = "") -> set[str]:
        """Return the names of the interfaces on the node, or in a pod."""
        return {link["ifname"] for link in json.loads(self.sh("ip -j link", pod=pod))}

    def addresses(self, link: str, pod: str = "") -> set[str]:
        """Return the addresses of an interface, with prefix lengths; link-local ones are left out."""
        (found,) = json.loads(self.sh('ip -j address show dev "$1"', link, pod=pod))
        return {
            f"{each['local']}/{each['prefixlen']}"
            for each in found["addr_info"]
            if each["scope"] != "link"
        }

    def routes(self) -> set[str]:
        """Return the destinations in the node's main routing tables, link-local ones left out."""
        found = [*json.loads(self.sh("ip -j -4 route")), *json.loads(self.sh("ip -j -6 route"))]
        return {each["dst"] for each in found if not each["dst"].startswith("fe80")}

    def unreachable(self, pod: str, targets: Sequence[str]) -> list[str]:
        """Ping `targets` from a pod, and return those that do not answer within some seconds."""
        script = (
            'for each; do ping -q -n -c 1 -w 5 "$each" >/dev/null 2>&1 || echo "$each"; done'
        )
        return self.sh(script, *targets, pod=pod).split()


def delegating(main: Json, node: Node, **ipam: object) -> Json:
    """Return a main plugin's configuration with ours as its IPAM plugin, and `ipam` for that."""
    return {
        **main,
        "etcd_endpoints": f"http://{node.etcd_endpoint}",
        "nodename": node.name,
        "ipam": {"type": "poolmgr-ipam", **ipam},
    }


class PluginError(Exception):
    """
    A plugin failed.

    Attributes:
        code: Of its CNI error.
    """

    def __init__(self, plugin: str, verb: str, error: Json) -> None:
        super().__init__(f"{plugin} {verb}: {error}")
        self.code = error.get("code")
        self.message = error.get("msg", "")


@dataclass
class Runtime:
    """
    What a container runtime does with a network configuration list on one node, after libcni.

    Attributes:
        plugins: The list's plugins, as in the file.
        path: Directories of plugins.
        interface: What the interface is called in a pod.
        results: Pod -> result of its ADD, which CHECK and DEL pass on.
    """

    node: Node
    name: str
    plugins: Sequence[Json]
    path: Sequence[Path]
    version: str = "1.0.0"
    interface: str = "eth0"
    results: dict[str, Json] = field(default_factory=dict)

    def add(self, pod: str, args: str = "") -> Json:
        """Attach a pod, and return the result."""
        previous = None
        for plugin in self.plugins:
            previous = self._call("ADD", plugin, pod, args, previous)
        assert previous is not None
        self.results[pod] = previous
        return previous

    def check(self, pod: str, args: str = "") -> None:
        """Check a pod's attachment."""
        for plugin in self.plugins:
            self._call("CHECK", plugin, pod, args, self.results[pod])

    def delete(self, pod: str, args: str = "") -> None:
        """Detach a pod; the kept result is passed on until the second time."""
        previous = self.results.pop(pod, None)
        for plugin in reversed(self.plugins):
            self._call("DEL", plugin, pod, args, previous)

    def _call(
        self, verb: str, plugin: Json, pod: str, args: str, previous: Json | None
    ) -> Json | None:
        conf = {**plugin, "name": self.name, "cniVersion": self.version}
        if previous is not None:
            conf["prevResult"] = previous
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            "CNI_IFNAME": self.interface,
            "CNI_PATH": os.pathsep.join(map(str, self.path)),
            "CNI_ARGS": args,
        }
        program = shutil.which(plugin["type"], path=env["CNI_PATH"])
        assert program is not None, plugin["type"]
        done = self.node.run(program, env=env, stdin=json.dumps(conf))
        if done.returncode != 0:
            raise PluginError(plugin["type"], verb, json.loads(done.stdout))
        return json.loads(done.stdout) if done.stdout else None
