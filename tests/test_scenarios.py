"""
Scenario files: commands, `----`, what they print; prose between.

They are the first thing to read about the planner. `pytest --update-golden` rewrites the
expected outputs.
"""

import shlex
from pathlib import Path

import pytest

from poolmgr.cidr import parse_address, parse_network
from poolmgr.core import records
from poolmgr.core.link import LinkPolicy, MainPlugin
from poolmgr.core.outcome import AffinitiesReleased, Assigned, Outcome, Refused, Released
from poolmgr.core.request import AutoAssign, Release, ReleaseAffinities, ReleaseIPs
from tests.support.world import World, add, add_ip, delete

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))
MAIN = {"ptp": MainPlugin.PTP, "bridge": MainPlugin.BRIDGE_GATEWAY}


class Scenario:
    """Runs the commands of one file on one world."""

    def __init__(self) -> None:
        self.world = World()

    def run(self, command: str) -> str:
        words = shlex.split(command)
        options = dict(w.split("=", 1) for w in words[1:] if "=" in w)
        plain = [w for w in words[1:] if "=" not in w]
        return getattr(self, f"do_{words[0].replace('-', '_')}")(*plain, **options)

    def do_pool(self, name: str, cidr: str, **spec: str) -> str:
        typed = {k: int(v) if v.isdecimal() else v == "true" if v in ("true", "false") else v
                 for k, v in spec.items()}  # fmt: skip
        self.world.pool(name, cidr, **typed)
        return "stored"

    def do_node(self, name: str, **labels: str) -> str:
        self.world.node(name, **labels)
        return "stored"

    def do_reserve(self, name: str, *cidrs: str) -> str:
        self.world.reserve(name, *cidrs)
        return "stored"

    def do_configure(self, **fields: str) -> str:
        self.world.configure(
            **{k: int(v) if v.isdecimal() else v == "true" for k, v in fields.items()}
        )
        return "stored"

    def do_affinity(self, host: str, cidr: str, state: str) -> str:
        key = records.affinity_key(host, parse_network(cidr))
        self.world.put(key, b'{"state":"%s","deleted":false}' % state.encode())
        return "stored"

    def do_wait(self, seconds: str) -> str:
        self.world.now_ns += int(seconds) * 1_000_000_000
        return "waited"

    def do_add(self, container: str, host: str, *families: str, **more: str) -> str:
        link = LinkPolicy(main=MAIN.get(more.get("main", ""), MainPlugin.OTHER))
        interface = more.get("interface", "eth0")
        if "ip" in more:
            return self.ask(add_ip(container, *more["ip"].split(","), host=host, link=link))
        numbers = tuple(int(f[1]) for f in families) or (4,)
        return self.ask(add(container, host, families=numbers, interface=interface, link=link))

    def do_assign(self, count: str, host: str, handle: str) -> str:
        return self.ask(AutoAssign(host=host, handle=handle, count={4: int(count)}))

    def do_del(self, container: str, host: str, **more: str) -> str:
        return self.ask(delete(container, host, more.get("interface", "eth0")))

    def do_release(self, *addresses: str, handle: str | None = None) -> str:
        releases = tuple(Release(address=parse_address(a), handle=handle) for a in addresses)
        return self.ask(ReleaseIPs(releases=releases))

    def do_leave(self, cidr: str) -> str:
        return self.ask(ReleaseAffinities(cidr=parse_network(cidr)))

    def do_blocks(self) -> str:
        return "\n".join(self._block(b) for b in self.world.blocks().values()) or "none"

    def do_handles(self) -> str:
        lines = [
            f"{name}: " + ", ".join(f"{n} in {cidr}" for cidr, n in handle.blocks.items())
            for name, handle in self.world.handles().items()
        ]
        return "\n".join(lines) or "none"

    def do_affinities(self) -> str:
        return "\n".join(f"{k}: {v}" for k, v in self.world.affinities().items()) or "none"

    def do_check(self) -> str:
        lines = [f"{f.key}: {f.flaw}, {f.detail}" for f in self.world.findings()]
        return "\n".join(lines) or "nothing is wrong"

    def ask(self, request) -> str:
        reads, commits = self.world.reads, self.world.commits
        text = self._outcome(self.world.ask(request))
        return f"{text}\nreads: {self.world.reads - reads}, transactions: {self.world.commits - commits}"

    def _outcome(self, outcome: Outcome) -> str:
        match outcome:
            case Assigned():
                lines = [self._allocation(a) for a in outcome.allocations]
                return "\n".join([*lines, *(f"but: {e}" for e in outcome.shortfall.values())])
            case Released():
                parts = [
                    *(f"released {a}" for a in outcome.released),
                    *(f"was not assigned: {a}" for a in outcome.unallocated),
                    *(f"left alone: {e}" for e in outcome.errors),
                ]
                return "\n".join(parts) or "nothing to release"
            case AffinitiesReleased():
                return f"{outcome.blocks} blocks left"
            case Refused():
                return f"refused, {type(outcome.error).__name__}: {outcome.error}"
            case _:
                raise AssertionError(outcome)

    def _allocation(self, allocation) -> str:
        length = allocation.link.prefix_length or allocation.block.prefixlen
        via = f" via {allocation.link.gateway}" if allocation.link.gateway else ""
        return f"{allocation.address}/{length}{via} from block {allocation.block}, pool {allocation.pool}"

    def _block(self, block) -> str:
        owners = [
            f".{n}={a.owner or 'cooling'}"
            for n in range(block.size)
            if (a := block.attribute_at(n))
        ]
        queue = ",".join(map(str, block.unallocated))
        return f"{block.cidr} {block.affinity or 'of nobody'}: {' '.join(owners) or 'empty'}; next {queue or 'none'}"


def play(text: str) -> str:
    """Run a scenario and return its text with the outputs it really has."""
    scenario, played = Scenario(), []
    for paragraph in text.split("\n\n"):
        commands, separator, _ = paragraph.partition("\n----")
        if separator:
            *prose, command = commands.split("\n")
            output = scenario.run(command)
            played.append("\n".join([*prose, command, "----", output]))
        else:
            played.append(paragraph.rstrip("\n"))
    return "\n\n".join(played) + "\n"


@pytest.mark.parametrize("path", SCENARIOS, ids=[path.stem for path in SCENARIOS])
def test_scenario(path: Path, update_golden: bool):
    expected = path.read_text()

    actual = play(expected)

    if update_golden:
        path.write_text(actual)
    assert update_golden or expected == actual
