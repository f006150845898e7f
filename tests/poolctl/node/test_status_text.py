"""How the status of a node is written."""

import json
from pathlib import Path

import yaml

from poolctl.node.status import NetworkStatus, Program, Serving, Status
from poolctl.node.status_text import rendered

PTP = Program(type="ptp", path=Path("/opt/cni/bin/ptp"))
OURS = Program(type="poolmgr-ipam", path=None)


def network(**changes):
    whole = {
        "file": "10-net.conflist",
        "name": "net-a",
        "default": True,
        "delegated_by": "",
        "main": PTP,
        "ipam": OURS,
        "chained": (),
        "node": "node-a",
        "annotations": (),
        "serving": (
            Serving(family=4, kept=(("pool-a", "10.0.0.0/16"),), reasons={"b": "disabled"}),
            Serving(family=6, kept=(), reasons={}),
        ),
        "problems": ("plugin poolmgr-ipam is not in /opt/cni/bin; install it",),
        **changes,
    }
    return NetworkStatus(**whole)


def status(*networks, problems=()):
    found = Status(conf_dir=Path("/etc/cni/net.d"), bin_dirs=(Path("/opt/cni/bin"),))
    found.networks += networks
    found.problems += problems
    return found


def test_a_network_is_written_for_people():
    text = rendered(status(network()), "table")

    assert (
        """\
networks        /etc/cni/net.d
plugins         /opt/cni/bin

10-net.conflist: network net-a, the runtime's default
  main plugin   ptp, /opt/cni/bin/ptp
  IPAM plugin   poolmgr-ipam, not found; ours
  this node     node-a
  annotations   do not reach us; write "capabilities":
                {"io.kubernetes.cri.pod-annotations": true} beside the plugin's
                type (containerd and CRI-O heed it, multus does not), or name
                kubernetes.kubeconfig
  IPv4 pools    pool-a 10.0.0.0/16
  not           b: disabled
  IPv6 pools    none
  PROBLEM       plugin poolmgr-ipam is not in /opt/cni/bin; install it

1 problem found"""
        == text
    )


def test_networks_of_others_are_short():
    other = network(
        ipam=None,
        chained=(Program(type="portmap", path=None),),
        delegated_by="m",
        annotations=None,
        serving=(),
        problems=(),
    )

    lines = rendered(status(other), "table").splitlines()

    assert [
        "10-net.conflist: network net-a, delegated to by multus of m",
        "  main plugin   ptp, /opt/cni/bin/ptp",
        "  IPAM plugin   none",
        "  chained       portmap",
        "",
        "all is well",
    ] == lines[3:]


def test_lines_fit_into_80_columns_and_steer_no_terminal():
    long = network(
        name="\x1b[2J", problems=("word " * 60,), annotations=("runtime", "kubernetes")
    )

    lines = rendered(status(long, problems=("word " * 60,)), "table").splitlines()

    assert 80 >= max(map(len, lines))
    assert "2 problems found" == lines[-1]
    assert not any("\x1b" in line for line in lines)


def test_json_and_yaml_say_the_same():
    found = status(network(), network(ipam=None, annotations=None), problems=("\x1b",))

    as_json, as_yaml = (rendered(found, output) for output in ("json", "yaml"))

    assert json.loads(as_json) == yaml.safe_load(as_yaml)
    assert "\x1b" not in as_json + as_yaml
    assert [[], None] == [
        each.get("podAnnotations") for each in json.loads(as_json)["networks"]
    ]
