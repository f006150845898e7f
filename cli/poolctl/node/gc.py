"""
`poolctl node gc`: release what the runtime's attachments do not hold any more.

Rules:

1. Every attachment that the runtime remembers counts as existing, whatever network it is of:
   what `migrate` brought in was attached to a network of another name.
2. What was assigned after the cache was looked at, or shortly before, is left alone: the
   runtime remembers an attachment only when all its plugins are done.
3. A cache that is not there, or that cannot tell, is no proof that nothing exists.
4. Only whoever says that the node was rebooted is believed that what has no network namespace
   any more is gone: seen from inside a container, no namespace of the host exists.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from poolctl.config import Session
from poolctl.rehearsal import Rehearsal
from poolctl.report import say
from poolmgr.cni import runtime
from poolmgr.cni.host import node_name
from poolmgr.cni.verbs import timestamp
from poolmgr.core.request import CollectGarbage
from poolmgr.errors import InvalidRequestError
from poolmgr.ipam import IPAM

_YOUNG_NS = 60 * 1_000_000_000
"""Longer than a runtime waits for the plugins of one attachment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Target:
    """
    A network of this node.

    Attributes:
        cache_dir: Where whoever attaches to it remembers that.
    """

    network: str
    node: str
    etcd: Mapping[str, str]
    cache_dir: Path


def collect(
    session: Session,
    conf: Path,
    *,
    cache_dir: Path | None,
    after_reboot: bool,
    dry_run: bool,
) -> None:
    """
    Release, on this node, what networks of a configuration hold without an attachment.

    Args:
        conf: The network configuration.
        cache_dir: Of libcni; None = where the runtime, or multus, has it.
        after_reboot: Whether a cache directory that is not there means that nothing exists, and
            an attachment without its network namespace does not.
        dry_run: Only tell what would be released.

    Raises:
        InvalidRequestError: The configuration or the cache is not usable; nothing was written.
        PoolmgrError: Any of the library's; what was released until then stays released.
    """
    targets = _targets(conf, cache_dir)
    until = timestamp(time.time_ns() - _YOUNG_NS)
    known = [_attachments(target, after_reboot=after_reboot) for target in targets]
    for target, attachments in zip(targets, known, strict=True):
        store = session.following(target.etcd).store
        request = CollectGarbage(
            host=target.node,
            network=target.network,
            valid=frozenset((each.container, each.interface) for each in attachments),
            until=until,
        )
        ipam = IPAM(Rehearsal(store) if dry_run else store)
        outcome = ipam.collect_garbage(request, timeout_s=session.left_s)
        done = "would be released" if dry_run else "released"
        for address in outcome.released:
            say(f"{address} {done}")
        count, exist = len(outcome.released), len(attachments)
        say(
            f"network {target.network} on {target.node}: "
            f"{count:,} {'address' if count == 1 else 'addresses'} {done}; "
            f"the runtime knows {exist:,} {'attachment' if exist == 1 else 'attachments'}"
        )
        for error in outcome.errors:
            raise error


def _targets(conf: Path, cache_dir: Path | None) -> list[_Target]:
    try:
        raw = conf.read_bytes()
    except OSError as error:
        raise InvalidRequestError(f"{conf} is not readable: {error.strerror}") from error
    targets = []
    for network in runtime.networks(str(conf), raw):
        default = runtime.MULTUS_CACHE_DIR if network.delegated_by else runtime.CACHE_DIR
        for plugin in network.plugins:
            if plugin.is_ours:
                try:
                    call = plugin.call(wishes=False)
                    node = node_name(call.naming)
                except InvalidRequestError as error:
                    raise InvalidRequestError(f"{conf}: {error}") from error
                target = _Target(
                    network=network.name,
                    node=node,
                    etcd=call.etcd,
                    cache_dir=cache_dir or Path(default),
                )
                if target not in targets:
                    targets.append(target)
    if not targets:
        raise InvalidRequestError(f"{conf} has no plugin whose ipam.type is {runtime.OURS}")
    return targets


def _attachments(target: _Target, *, after_reboot: bool) -> list[runtime.Cached]:
    """Return all attachments that a cache has, of whatever network."""
    results = target.cache_dir / "results"
    try:
        files = sorted(results.iterdir())
    except FileNotFoundError:
        if after_reboot:
            return []
        raise InvalidRequestError(
            f"there is no {results}, so nobody can say which attachments exist; name the "
            "runtime's cache by --cache-dir, or say --after-reboot if it went away with them"
        ) from None
    except OSError as error:
        raise InvalidRequestError(f"{results} is not readable: {error.strerror}") from error
    found = [cached for file in files if (cached := _cached(file)) is not None]
    if after_reboot:
        found = [each for each in found if not each.sandbox or Path(each.sandbox).exists()]
    if not any(each.network == target.network for each in found):
        for each in found:
            if each.through_multus:
                raise InvalidRequestError(
                    f"{results} has attachments of multus, and none of {target.network}, which "
                    "multus may remember elsewhere; name that directory by --cache-dir, "
                    f"usually {runtime.MULTUS_CACHE_DIR}"
                )
    return found


def _content(file: Path) -> bytes:
    """Read a file; one that is no regular file may have no end, or nobody who writes it."""
    if file.exists() and not file.is_file():
        raise InvalidRequestError("it is not a regular file")
    return file.read_bytes()


def _cached(file: Path) -> runtime.Cached | None:
    """Read one; None = it was deleted just now, after its attachment."""
    try:
        return runtime.cached(file.name, _content(file))
    except FileNotFoundError:
        return None
    except (OSError, InvalidRequestError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequestError(
            f"{file} does not tell which attachment exists: {why}; nothing was released; "
            "remove it if its container is gone"
        ) from error
