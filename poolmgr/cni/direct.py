"""
The agentless entry point: one CNI call in one process, straight to etcd.

Installed beside the CNI executable as `<executable>.direct`; it reads the network configuration
from standard input and the `CNI_*` variables from the environment, as any CNI plugin does.
"""

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NoReturn

from poolmgr.cni.result import LATEST, VERSIONS, CallError, Code, Json, failure, version_text
from poolmgr.cni.strict_json import loads
from poolmgr.cni.wire import FRAME_LIMIT_BYTES, Frame
from poolmgr.errors import PoolmgrError

if TYPE_CHECKING:
    from poolmgr.cni.netconf import Call
    from poolmgr.cni.witness import Witness
    from poolmgr.store.port import Store

_LABEL_S, _LEAST_S = 1.0, 0.1

_log = logging.getLogger(__name__)


def main() -> NoReturn:
    """Serve the call this process was started for, and exit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends it, without a traceback
    started = time.monotonic()
    parent = os.getppid()
    status, answer = run(
        os.environ,
        _standard_input,
        started=started,
        # Whoever wants the answer is the parent; orphans have a new one.
        alive=lambda: os.getppid() == parent,
    )
    try:
        _write(answer)
    except OSError:
        status = 1
    sys.exit(status)


def run(
    environ: Mapping[str, str],
    read_input: Callable[[], bytes],
    *,
    started: float,
    alive: Callable[[], bool],
    clock: Callable[[], int] = time.time_ns,
) -> tuple[int, str]:
    """
    Serve one call.

    Args:
        environ: The environment.
        read_input: Returns standard input; not called for VERSION.
        started: When the process began, in monotonic seconds; deadlines count from there.
        alive: Tells whether the caller still waits.
        clock: Returns the time to record, in nanoseconds since 1970.

    Returns:
        The exit status, 0 or 1, and the text for standard output.
    """
    if environ.get("CNI_COMMAND") == "VERSION":
        return 0, version_text() + "\n"
    conf = b""
    try:
        conf = read_input()
        result = _serve(conf, environ, started=started, alive=alive, clock=clock)
    except Exception as error:  # noqa: BLE001 - a runtime reads JSON, never a traceback
        status = environ.get("CNI_COMMAND") == "STATUS"
        return 1, json.dumps(failure(_version(conf), error, status=status)) + "\n"
    return 0, "" if result is None else json.dumps(result) + "\n"


def _serve(
    conf: bytes,
    environ: Mapping[str, str],
    *,
    started: float,
    alive: Callable[[], bool],
    clock: Callable[[], int],
) -> Json | None:
    from poolmgr.cni.netconf import Command, parse

    env = {name: value for name, value in environ.items() if name.startswith("CNI_")}
    call = parse(Frame(env=env, conf=conf))

    from poolmgr.cni.host import node_name
    from poolmgr.store.source import settings_from

    node = node_name(call.naming)
    settings, _ = settings_from(call.etcd, environ)
    call = settled(call, node)

    # The call is sound: only now comes what talks to etcd, most of this process's start.
    from poolmgr.cni import verbs
    from poolmgr.cni.status import status
    from poolmgr.cni.witness import Witness
    from poolmgr.ipam import IPAM
    from poolmgr.store.etcd import EtcdStore

    store = Witness(EtcdStore(settings))
    try:
        ipam = IPAM(store, clock=clock)
        deadline = started + verbs.TIMEOUT_S
        left_s = max(0.1, deadline - time.monotonic())
        if call.command is Command.ADD:
            result = verbs.add(call, node, ipam, now_ns=clock(), timeout_s=left_s, alive=alive)
            conclude(call, node, store, deadline=deadline)
            return result
        if call.command is Command.DEL:
            verbs.delete(call, node, ipam, timeout_s=left_s)
        elif call.command is Command.CHECK:
            verbs.check(call, ipam, timeout_s=left_s)
        elif call.command is Command.GC:
            verbs.collect(call, node, ipam, now_ns=clock(), timeout_s=left_s)
        else:
            status(call, node, store)
    finally:
        store.close()
    return None


def conclude(call: "Call", node: str, store: "Witness", *, deadline: float) -> None:
    """
    Do what comes after an ADD that was served, and must not make it fail.

    Args:
        store: The one that served it.
        deadline: In monotonic seconds.
    """
    if call.node_labels is not None:
        _label(node, call.node_labels, store, deadline=deadline)
    if text := store.warning(call):
        _log.warning("%s", text)


def settled(call: "Call", node: str) -> "Call":
    """
    Return an ADD with what annotations and, where configured, the Kubernetes API say.

    A CHECK is about what the ADD did: of annotations only addresses past IPAM count.
    """
    from poolmgr.cni.netconf import Command
    from poolmgr.cni.pod import NODE_REMEDY, api_of, is_looked_up, labels_of_node, look_up
    from poolmgr.cni.wanted import settle
    from poolmgr.kube.annotations import past_ipam

    if call.command is Command.CHECK:
        return replace(call, without_ipam=past_ipam(call.annotations or {}, call.gates))
    if call.command is not Command.ADD:
        return call
    if not is_looked_up(call):
        return settle(call)

    api = api_of(call)
    try:
        settled = settle(call, look_up(call, api))
        labels = labels_of_node(call, node, api)
    finally:
        api.close()
    if labels is None:
        name = call.kubernetes_node or node
        _log.warning(
            "Kubernetes has no node %s; its labels are those stored; %s", name, NODE_REMEDY
        )
    return replace(settled, node_labels=labels)


def _label(node: str, labels: Mapping[str, str], store: "Store", *, deadline: float) -> None:
    """Give the Node resource the labels of the Kubernetes node, for whoever reads it there."""
    from poolmgr.nodes import label_node

    timeout_s = min(_LABEL_S, deadline - time.monotonic())
    if timeout_s < _LEAST_S:  # the pod waits for its answer; the next one tries again
        return
    try:
        label_node(store, node, labels, timeout_s)
    except PoolmgrError as error:
        _log.warning("the labels of node %s were not stored: %s", node, error)


def _version(conf: bytes) -> str:
    """Return the version to answer in, also when the configuration is not decodable."""
    try:
        version = loads(conf).get("cniVersion")
    except CallError:
        return LATEST
    return version if isinstance(version, str) and version in VERSIONS else LATEST


def _standard_input() -> bytes:
    """
    Read the network configuration; one byte beyond the limit is enough to refuse it.

    Raises:
        CallError: With code 5: there is no standard input.
    """
    parts: list[bytes] = []
    left = FRAME_LIMIT_BYTES + 1
    try:
        while left and (part := os.read(0, left)):
            parts.append(part)
            left -= len(part)
    except OSError as err:
        message = f"standard input is not readable: {err.strerror}"
        raise CallError(Code.IO_FAILURE, message) from err
    return b"".join(parts)


def _write(text: str) -> None:
    rest = text.encode()
    while rest:
        rest = rest[os.write(1, rest) :]
