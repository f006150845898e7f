"""
Show poolmgr at work, from an empty etcd to pods that ping each other, and leave nothing behind.

As root the demo runs in network and mount namespaces of its own, so that interfaces, routes and
namespaces of pods vanish with it, however it ends. The rest is one directory and one etcd.
"""

import argparse
import contextlib
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from poolmgr.cidr import IPAddress, parse_address
from poolmgr.core.records import BLOCKS, decode_block
from poolmgr.core.txn import Fetch
from poolmgr.errors import PoolmgrError
from poolmgr.store.embedded import EmbeddedEtcd
from poolmgr.store.etcd import EtcdStore
from poolmgr.store.settings import Settings

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "deploy" / "examples"
PLUGIN_DIRS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
TOOLS = ("unshare", "mount", "ip", "ping")
ISOLATED = "POOLMGR_DEMO_ISOLATED"
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TIMEOUT_S = 30.0


class StepError(Exception):
    """A step did not do what it should; the text says what happened instead."""


class Interruption:
    """
    Turns the first signal that wants to end the demo into SystemExit: the way out cleans up.

    Later signals are ignored, because they would cut the cleaning short.
    """

    def __init__(self) -> None:
        self._held = False
        self._status = 0

    def listen(self) -> None:
        """Begin to heed signals."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)

    def ignore(self) -> None:
        """Heed no signal any more: from now on there is only cleaning up."""
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """
        Put an exception off to the end of the block.

        Whatever is started in the block and known after it can be stopped; an exception in
        between would leave a process that nobody knows.
        """
        self._held = True
        try:
            yield
        finally:
            self._held = False
        self._leave()

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.ignore()
        self._status = 128 + number
        if not self._held:
            self._leave()

    def _leave(self) -> None:
        if self._status:
            raise SystemExit(self._status)


INTERRUPTION = Interruption()


class Demo:
    """The demo's directory and etcd, and programs run there in a way that can be repeated."""

    def __init__(self, directory: Path, endpoint: str) -> None:
        self.directory = directory
        self.endpoint = endpoint
        self.plugin = directory / "bin" / "poolmgr-ipam"
        self.plugin.parent.mkdir()
        self.steps = 0
        self._exported = {
            "ETCD_ENDPOINTS": endpoint,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": ":".join(map(str, (self.plugin.parent, *PLUGIN_DIRS))),
        }

    def exports(self) -> str:
        """Write what the commands shown need in a shell."""
        words = [f"{name}={value}" for name, value in self._exported.items()]
        return f"export DEMO={self.directory} {self._short(' '.join(words))}"

    def _short(self, text: str) -> str:
        return text.replace(str(self.directory), "$DEMO").replace(f"{ROOT}/", "")

    def step(self, title: str, *look: str) -> None:
        """Begin the next step: say what is done, and what to look at."""
        self.steps += 1
        bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() else ("", "")
        print(f"\n{bold}{self.steps}. {title}{plain}")
        for line in look:
            print(f"   {line}")

    def run(self, *argv: str | Path) -> None:
        """Show a command, run it, and show what it prints."""
        self.show(self._run(argv))

    def show(self, text: str) -> None:
        """Show what a command answered."""
        for line in text.rstrip().splitlines():
            print(f"     {line}")

    def _run(
        self,
        argv: Sequence[str | Path],
        env: Mapping[str, str] | None = None,
        stdin: Path | None = None,
    ) -> str:
        words = [str(word) for word in argv]
        settings = [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
        shown = " ".join([*settings, shlex.join(words), *([f"< {stdin}"] if stdin else [])])
        print(f"   $ {self._short(shown)}")
        given = stdin.read_text() if stdin else ""
        status, output, errors = finish(words, self._environment(env or {}), given)
        if status != 0:
            said = (errors + output).strip()
            raise StepError(f"{words[0]} exited with {status}: {said}")
        return output

    def _environment(self, env: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a command: ours, without what points at another etcd."""
        ours = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("ETCD_", "CALICO_", "CNI_", "DATASTORE_"))
        }
        path = f"{Path(sys.executable).parent}:{os.environ.get('PATH', os.defpath)}"
        return {**ours, "PATH": path, **self._exported, **env}

    def configuration(self, example: str, node: str) -> Path:
        """
        Write what a runtime passes to the plugin of an example, and return the file.

        A runtime copies the list's name and version to the plugin; the demo adds where its etcd
        is, and the node's name.
        """
        whole = json.loads((EXAMPLES / f"{example}.conflist").read_text())
        (plugin,) = whole["plugins"]
        plugin |= {"cniVersion": whole["cniVersion"], "name": whole["name"]}
        plugin |= {"etcd_endpoints": self.endpoint, "nodename": node}
        path = self.directory / f"{example}-{node}.json"
        path.write_text(json.dumps(plugin))
        return path

    def cni(
        self, verb: str, program: Path, conf: Path, pod: str, args: str = ""
    ) -> list[IPAddress]:
        """Run a CNI plugin as a runtime does, and return the addresses of its result."""
        env = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": pod,
            "CNI_NETNS": f"/run/netns/{pod}",
            **({"CNI_ARGS": args} if args else {}),
        }
        output = self._run([program], env, conf)
        result = json.loads(output) if output else {}
        for ip in result.get("ips", []):
            self.show(f"{ip['address']} gateway {ip['gateway']}")
        for route in result.get("routes", []):
            self.show(f"route {route['dst']} via {route['gw']}")
        return [parse_address(ip["address"].partition("/")[0]) for ip in result.get("ips", [])]

    def assigned(self) -> int:
        """Count the assigned addresses, straight from the stored blocks."""
        store = EtcdStore(Settings.parse(self.endpoint))
        try:
            reading = store.read(Fetch(ranges=frozenset(BLOCKS.values())))
        finally:
            store.close()
        items = [item for page in reading.ranges.values() for item in page.items]
        blocks = [decode_block(key, kv.value) for key, kv in items]
        return sum(block.size - len(block.unallocated) for block in blocks)


def finish(
    words: Sequence[str], environment: Mapping[str, str], given: str
) -> tuple[int, str, str]:
    """
    Run a program to its end, and return its status, standard output and standard error.

    However we leave, nothing of it goes on: it and what it starts are one process group.
    """
    process = None
    try:
        with INTERRUPTION.held():
            process = subprocess.Popen(
                words,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                process_group=0,
            )
        output, errors = process.communicate(given, timeout=TIMEOUT_S)
    except BaseException:
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()  # ends when the last of the group has closed its pipes
        raise
    return process.returncode, output, errors


def expect(what: str, wanted: object, found: object) -> None:
    """Stop the demo where something is not as it should be."""
    if wanted != found:
        raise StepError(f"{what}: expected {wanted}, found {found}")


# The story


def tell(demo: Demo, why_no_chains: str) -> None:
    """Go through all steps."""
    demo.step(
        "Pools. What administrators write is Calico's IPPool, so Calico's tools read it too."
    )
    demo.run("poolctl", "apply", "-f", EXAMPLES / "ippool.yaml")
    demo.run("poolctl", "get", "ippools", "-o", "wide")

    demo.step("The plugin: one small file that runs on the Python of the host.")
    demo.run("poolctl", "node", "install", "--bin-dir", demo.plugin.parent)

    pods_by_hand(demo)
    plugins = main_plugins()
    if why_no_chains or plugins is None:
        demo.step(
            "Left out: the real bridge and ptp plugins, and pods that ping each other.",
            why_no_chains,
        )
        return
    chain(demo, plugins / "bridge", "bridge")
    chain(demo, plugins / "ptp", "ptp")


def pods_by_hand(demo: Demo) -> None:
    """Call the plugin as a main plugin would: for pods on two nodes, by name, and for DEL."""
    on_a, on_b = (demo.configuration("ptp", node) for node in ("node-a", "node-b"))
    pods = {"pod-1": on_a, "pod-2": on_a, "pod-3": on_b}
    demo.step(
        "Three pods on two nodes, called as the main plugin ptp would call.",
        "Look at the addresses: each node claims a block of its own, of both families.",
    )
    held = {pod: demo.cni("ADD", demo.plugin, conf, pod) for pod, conf in pods.items()}
    expect("different addresses", 6, len({ip for ips in held.values() for ip in ips}))

    demo.step("The same ADD again. A runtime that lost the answer gets the same one.")
    expect("the same", held["pod-1"], demo.cni("ADD", demo.plugin, on_a, "pod-1"))

    demo.step("An address by name: IP= in CNI_ARGS.")
    named = demo.cni("ADD", demo.plugin, on_a, "pod-4", "IP=10.244.7.7")
    expect("the address", [parse_address("10.244.7.7")], named)

    demo.step(
        "Who has what. Look at the blocks, and at the owner of an address and of its block."
    )
    demo.run("poolctl", "ipam", "show", "--show-blocks")
    demo.run("poolctl", "ipam", "show", "--ip", "10.244.7.7")
    expect("assigned addresses", 7, demo.assigned())

    demo.step(
        "DEL. All addresses are free again; the nodes keep their blocks for the next pods."
    )
    for pod, conf in {**pods, "pod-4": on_a}.items():
        demo.cni("DEL", demo.plugin, conf, pod)
    demo.run("poolctl", "ipam", "show")
    expect("assigned addresses", 0, demo.assigned())


def chain(demo: Demo, main: Path, example: str) -> None:
    """Connect two namespaces through a real main plugin and ping one from the other."""
    conf = demo.configuration(example, "node-a")
    pods = [f"{example}-{number}" for number in (1, 2)]
    demo.step(
        f"The real {example} plugin, which calls ours: two pods that ping each other.",
        "Look at the gateway and the routes, which come from ours.",
    )
    for pod in pods:
        demo.run("ip", "netns", "add", pod)
    held = [demo.cni("ADD", main, conf, pod) for pod in pods]
    inside = ("ip", "netns", "exec", pods[0])
    demo.run(*inside, "ip", "route")
    for target in held[1]:
        demo.run(*inside, "ping", "-q", "-c", "2", "-i", "0.2", "-W", "10", str(target))
    for pod in pods:
        demo.cni("DEL", main, conf, pod)
        demo.run("ip", "netns", "delete", pod)
    expect("assigned addresses", 0, demo.assigned())


# The surroundings


def main_plugins() -> Path | None:
    """Return the directory that holds the reference plugins; None = there is none."""
    for directory in PLUGIN_DIRS:
        if (directory / "bridge").exists() and (directory / "ptp").exists():
            return directory
    return None


def why_no_chains() -> str:
    """Say why namespaces and real plugins cannot be used here; "" = they can."""
    if os.geteuid() != 0:
        return "Only root can make network namespaces for pods: run ./dev demo as root."
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if main_plugins() is None:
        missing.append("CNI plugins in /opt/cni/bin or /usr/lib/cni")
    if missing:
        return (
            f"Missing: {', '.join(missing)}. ./dev prepare installs them on Debian and Ubuntu."
        )
    probe = ["unshare", "--net", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/run"]
    tried = subprocess.run(probe, capture_output=True, text=True, check=False)
    if tried.returncode == 0:
        return ""
    why = tried.stderr.strip()
    return f"This root may not make namespaces or mount (in a container?): {why}"


def enter_namespaces() -> None:
    """Start this program again in namespaces of its own; there, make them usable."""
    if ISOLATED not in os.environ:
        os.environ[ISOLATED] = "1"
        program = [sys.executable, __file__, *sys.argv[1:]]
        os.execvp("unshare", ["unshare", "--net", "--mount", *program])
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)


@contextlib.contextmanager
def surroundings() -> Iterator[Demo]:
    """Provide a directory and an etcd for the time of the demo."""
    with contextlib.ExitStack() as cleaning:
        with INTERRUPTION.held():
            directory = tempfile.TemporaryDirectory(prefix="poolmgr-demo-")
            name = cleaning.enter_context(directory)
            etcd = cleaning.enter_context(EmbeddedEtcd())
            cleaning.callback(INTERRUPTION.ignore)
        print(f"A private etcd {etcd.version} answers at {etcd.endpoint}.")
        if etcd.binary.caution:
            print(f"Note: {etcd.binary.caution}.")
        demo = Demo(Path(name), f"http://{etcd.endpoint}")
        print(f"   $ {demo.exports()}")
        yield demo


def wait(demo: Demo) -> None:
    """Keep everything up until Enter."""
    print("\nEverything stays up until you press Enter. To join in from another terminal:")
    if ISOLATED in os.environ:
        print(f"   nsenter --target {os.getpid()} --net --mount")
    print(f"   cd {ROOT}; PATH={Path(sys.executable).parent}:$PATH")
    print(f"   {demo.exports()}")
    sys.stdin.readline()


def main(arguments: Sequence[str]) -> int:
    """Run the demo and return its exit status."""
    parser = argparse.ArgumentParser(prog="./dev demo", description="Show poolmgr at work.")
    parser.add_argument(
        "--wait", action="store_true", help="keep everything up until Enter is pressed"
    )
    options = parser.parse_args(arguments)
    reason = "" if ISOLATED in os.environ else why_no_chains()
    if not reason:
        enter_namespaces()
    INTERRUPTION.listen()
    demo = None
    try:
        with surroundings() as demo:
            tell(demo, reason)
            if options.wait:
                wait(demo)
    except BrokenPipeError:  # whoever reads us has seen enough: `./dev demo | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except (StepError, PoolmgrError, OSError, subprocess.SubprocessError) as error:
        print(f"demo: step {demo.steps if demo else 0} failed: {error}", file=sys.stderr)
        return 1
    print("\netcd is stopped, and nothing is left behind.")
    return 0


if __name__ == "__main__":
    sys.stdout = os.fdopen(1, "w", buffering=1)  # in order with what goes to standard error
    sys.exit(main(sys.argv[1:]))
