"""How `poolctl node status` is written: for people, in 80 columns, or as JSON and YAML."""

import textwrap
from collections.abc import Iterator
from typing import Any

from poolctl.node.status import NetworkStatus, Program, Status
from poolctl.report import document, printable
from poolmgr.cni.document import POD_ANNOTATIONS
from poolmgr.cni.runtime import OURS

_COLUMNS = 80
_INDENT = 16

_ANNOTATIONS = {
    ("runtime", "kubernetes"): "from the runtime; the namespace's from the Kubernetes API",
    (
        "runtime",
    ): "from the runtime; a namespace's do not reach us without kubernetes.kubeconfig",
    ("kubernetes",): "from the Kubernetes API, the namespace's too",
    (): f"""do not reach us; write "capabilities": {{"{POD_ANNOTATIONS}": true}} beside the
        plugin's type (containerd and CRI-O heed it, multus does not), or name
        kubernetes.kubeconfig""",
}


def rendered(status: Status, output: str) -> str:
    """Write a status as "table", "json" or "yaml"."""
    return "\n".join(_lines(status)) if output == "table" else document(_value(status), output)


def _lines(status: Status) -> Iterator[str]:
    yield from _row("networks", str(status.conf_dir), indent=0)
    yield from _row("plugins", ", ".join(map(str, status.bin_dirs)), indent=0)
    for problem in status.problems:
        yield from _row("PROBLEM", problem, indent=0)
    for network in status.networks:
        yield ""
        yield from _network(network)
    yield ""
    count = len(status.problems) + sum(len(each.problems) for each in status.networks)
    yield (
        f"{count:,} {'problem' if count == 1 else 'problems'} found" if count else "all is well"
    )


def _network(network: NetworkStatus) -> Iterator[str]:
    use = "the runtime's default" if network.default else "used where it is named"
    if network.delegated_by:
        use = f"delegated to by multus of {network.delegated_by}"
    yield printable(f"{network.file}: network {network.name}, {use}")
    yield from _row("main plugin", _program(network.main))
    whose = "; ours" if network.is_ours else "; not ours"
    ipam = f"{_program(network.ipam)}{whose}" if network.ipam else "none"
    yield from _row("IPAM plugin", ipam)
    if network.chained:
        yield from _row("chained", ", ".join(each.type for each in network.chained))
    if network.is_ours:
        yield from _ours(network)
    for problem in network.problems:
        yield from _row("PROBLEM", problem)


def _ours(network: NetworkStatus) -> Iterator[str]:
    yield from _row("this node", network.node or "unknown")
    if network.annotations is not None:
        yield from _row("annotations", _ANNOTATIONS[network.annotations])
    for serving in network.serving:
        pools = ", ".join(f"{name} {cidr}" for name, cidr in serving.kept)
        yield from _row(f"IPv{serving.family} pools", pools or "none")
        for name, reason in serving.reasons.items():
            yield from _row("not", f"{name}: {reason}")


def _program(program: Program) -> str:
    return f"{program.type}, {program.path or 'not found'}"


def _row(title: str, text: str, *, indent: int = 2) -> list[str]:
    return textwrap.wrap(
        printable(" ".join(text.split())),
        _COLUMNS,
        initial_indent=f"{'':{indent}}{title}".ljust(_INDENT),
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _value(status: Status) -> dict[str, Any]:
    return {
        "confDir": str(status.conf_dir),
        "binDirs": [str(each) for each in status.bin_dirs],
        "networks": [_network_value(each) for each in status.networks],
        "problems": list(status.problems),
    }


def _network_value(network: NetworkStatus) -> dict[str, Any]:
    value: dict[str, Any] = {
        "file": network.file,
        "name": network.name,
        "default": network.default,
        "delegatedBy": network.delegated_by or None,
        "mainPlugin": _program_value(network.main),
        "ipamPlugin": None,
        "chainedPlugins": [_program_value(each) for each in network.chained],
        "problems": list(network.problems),
    }
    if network.ipam is not None:
        value["ipamPlugin"] = _program_value(network.ipam) | {"ours": network.ipam.type == OURS}
    if network.is_ours:
        value |= {
            "node": network.node or None,
            "podAnnotations": None if network.annotations is None else [*network.annotations],
            "pools": [
                {
                    "family": serving.family,
                    "serving": [{"name": name, "cidr": cidr} for name, cidr in serving.kept],
                    "notServing": [
                        {"name": name, "reason": reason}
                        for name, reason in serving.reasons.items()
                    ],
                }
                for serving in network.serving
            ],
        }
    return value


def _program_value(program: Program) -> dict[str, str | None]:
    return {"type": program.type, "path": str(program.path) if program.path else None}
