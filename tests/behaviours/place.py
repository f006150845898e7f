"""A real etcd as rows see it: through the library, the CNI executable, and another program."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from poolmgr.cidr import contains, parse_address, parse_network
from poolmgr.cni import direct
from poolmgr.cni.result import ERRORS
from poolmgr.core.audit import invariants
from poolmgr.core.flaws import Flaw
from poolmgr.errors import PoolmgrError
from poolmgr.ipam import IPAM
from poolmgr.store.etcd import EtcdStore
from tests.support.rawetcd import RawEtcd

Run = Callable[..., subprocess.CompletedProcess[str]]
NETWORK = "net1"
BY_CODE = {row.code: error for error, row in ERRORS.items() if row.code >= 100}


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What an action came to.

    Attributes:
        given: Addresses, as text; what CNI prints has a prefix length.
        error: The class of what was raised, or of what stands for the exit code.
        short: Why fewer addresses came than were asked for.
        text: What `error` or `short` says.
        limit: The limit of blocks that it names.
    """

    given: tuple[str, ...] = ()
    error: type[PoolmgrError] | None = None
    short: type[PoolmgrError] | None = None
    text: str = ""
    limit: int | None = None

    @property
    def addresses(self) -> list[str]:
        return [text.partition("/")[0] for text in self.given]


class Place:
    """A real etcd, seen by the library, the executables and another program."""

    def __init__(
        self, store: EtcdStore, raw: RawEtcd, endpoint: str, program: Path, poolctl: Run
    ) -> None:
        self.raw, self.ipam, self.poolctl = raw, IPAM(store), poolctl
        self._endpoint, self._program = endpoint, program
        self._containers = 0

    def new_container(self) -> str:
        self._containers += 1
        return f"container-{self._containers}"

    def cni(self, node: str, keys: dict, env: Mapping[str, str], *, program: bool) -> Answer:
        """Make one CNI call, in this process or by the executable."""
        conf = {
            "cniVersion": "1.0.0",
            "name": NETWORK,
            "type": "calico",
            "etcd_endpoints": self._endpoint,
            "nodename": node,
            "ipam": {"type": "poolmgr-ipam", **keys},
        }
        all_env = {
            "CNI_NETNS": "/var/run/netns/x",
            "CNI_IFNAME": "eth0",
            "CNI_PATH": "/opt/cni/bin",
            **env,
        }
        run = self._by_program if program else _in_process
        status, text = run(json.dumps(conf).encode(), all_env)
        said = json.loads(text or "{}")
        if status:
            return Answer(error=BY_CODE[said["code"]], text=said["msg"])
        return Answer(given=tuple(ip["address"] for ip in said.get("ips", ())))

    def _by_program(self, conf: bytes, env: Mapping[str, str]) -> tuple[int, str]:
        environ = {"PATH": os.environ["PATH"], **env}
        done = subprocess.run(
            [self._program],
            input=conf,
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert b"" == done.stderr
        return done.returncode, done.stdout.decode()

    def blocks(self) -> dict[str, dict]:
        """Return every block as it is stored."""
        found = [
            json.loads(raw) for key, raw in self.raw.dump().items() if "/assignment/" in key
        ]
        return {block["cidr"]: block for block in found}

    def block_of(self, address: str) -> dict:
        """Return the block that an address is assigned in."""
        for cidr, block in self.blocks().items():
            net = parse_network(cidr)
            if contains(net, parse_address(address)):
                ordinal = int(parse_address(address)) - int(net.network_address)
                assert block["allocations"][ordinal] is not None
                assert ordinal not in block["unallocated"]
                return block
        raise AssertionError(f"{address} lies in no block")

    def attribute_of(self, address: str) -> dict:
        """Return what is stored beside an address."""
        block = self.block_of(address)
        first = int(parse_network(block["cidr"]).network_address)
        return block["attributes"][block["allocations"][int(parse_address(address)) - first]]

    def affinities(self) -> dict[tuple[str, str], str]:
        """Return owner and block of every affinity -> its state."""
        found = {}
        for key, raw in self.raw.dump().items():
            match = re.fullmatch("/calico/ipam/v2/(host|virtual)/(.+)/ipv[46]/block/(.+)", key)
            if match:
                kind, host, block = match.groups()
                cidr = "/".join(block.rsplit("-", 1))
                found[f"{kind}:{host}", cidr] = json.loads(raw)["state"]
        return found

    def flaws(self) -> set[Flaw]:
        return {finding.flaw for finding in invariants(self.raw.dump().items())}


def _in_process(conf: bytes, env: Mapping[str, str]) -> tuple[int, str]:
    return direct.run(env, lambda: conf, started=time.monotonic(), alive=lambda: True)
