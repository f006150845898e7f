"""CNI calls as rows of the black box make them: any version, any key, any pod."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from poolmgr.cidr import parse_address, parse_network
from poolmgr.cni import direct
from tests.support.rawetcd import RawEtcd
from tests.support.world import stored_resource

POD_ANNOTATIONS = "io.kubernetes.cri.pod-annotations"


@dataclass(frozen=True, slots=True)
class Said:
    """
    The answer to a call.

    Attributes:
        code: Of the error; 0 = it succeeded.
        body: The CNI result, or the CNI error.
    """

    code: int
    body: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ips(self) -> list[str]:
        """Addresses with their prefix length, in the form of any version."""
        old = [self.body[key]["ip"] for key in ("ip4", "ip6") if key in self.body]
        return [ip["address"] for ip in self.body.get("ips", ())] or old

    @property
    def addresses(self) -> list[str]:
        return [ip.partition("/")[0] for ip in self.ips]

    @property
    def routes(self) -> list[str]:
        """Destinations, in the form of any version."""
        parts = [self.body, *(self.body[key] for key in ("ip4", "ip6") if key in self.body)]
        return [route["dst"] for part in parts for route in part.get("routes", ())]

    def lies_in(self, *cidrs: str) -> bool:
        """Tell whether there is one address for each CIDR, in it."""
        networks = [parse_network(cidr) for cidr in cidrs]
        pairs = zip(self.addresses, networks, strict=True)
        return all(parse_address(address) in net for address, net in pairs)


class Caller:
    """A runtime on a node, and another program that writes pools."""

    def __init__(self, raw: RawEtcd, endpoint: str) -> None:
        self.raw, self._endpoint = raw, endpoint

    def pool(self, name: str, cidr: str, **spec) -> None:
        self.raw.put(*stored_resource("ippools", "IPPool", name, {"cidr": cidr, **spec}))

    def no_pool(self, name: str) -> None:
        self.raw.delete(stored_resource("ippools", "IPPool", name, {})[0])

    def handles(self) -> list[str]:
        """Return the ids of all handles."""
        return [key.rpartition("/")[2] for key in self.raw.dump() if "/handle/" in key]

    def __call__(
        self,
        command: str = "ADD",
        container: str = "c1",
        *,
        interface: str = "eth0",
        args: str = "",
        **keys: object,
    ) -> Said:
        """Make a call; `keys` are those of the network configuration, None = leave it out."""
        conf = {
            "cniVersion": "1.0.0",
            "name": "net1",
            "type": "calico",
            "etcd_endpoints": self._endpoint,
            "nodename": "host-a",
            "ipam": {"type": "poolmgr-ipam"},
            **keys,
        }
        env = {
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": container,
            "CNI_NETNS": "/var/run/netns/x",
            "CNI_IFNAME": interface,
            "CNI_PATH": "/opt/cni/bin",
            "CNI_ARGS": args,
        }
        raw = json.dumps({k: v for k, v in conf.items() if v is not None}).encode()
        status, text = direct.run(
            env, lambda: raw, started=time.monotonic(), alive=lambda: True
        )
        body = json.loads(text or "{}")
        return Said(body["code"] if status else 0, body)
