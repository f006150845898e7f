"""What the global options say: which etcd, and how long to wait for it."""

import contextlib
import copy
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from poolctl.report import warn
from poolmgr.errors import InvalidRequestError

if TYPE_CHECKING:
    from poolmgr.store.port import Store
    from poolmgr.store.settings import Settings

_VARIABLES = ("CALICO_ETCD_ENDPOINTS", "ETCD_ENDPOINTS")
_STEP_S, _SCAN_S = 30.0, 3600.0


@dataclass(slots=True)
class Record:
    """
    What a run has done so far.

    Attributes:
        began: A write was sent: whatever ends the run now, it is no clean failure.
        untold: Why stdout did not take what was said since; "" = it did.
    """

    began: bool = False
    untold: str = ""


class Session:
    """
    One run of poolctl.

    Args:
        config: File to use instead of the default ones.
        endpoints: Counts as ETCD_ENDPOINTS does, and beats it.
        timeout_s: For everything the run does; None = it may go on for as long as it gets on.
        verbose: Tell on stderr what etcd is asked.

    Attributes:
        etcd: The endpoints in use and who named them, for messages; "" = not known yet.
        record: What was done, also by the sessions that follow this one.
    """

    def __init__(
        self,
        config: Path | None,
        endpoints: str | None,
        timeout_s: float | None,
        *,
        verbose: bool = False,
    ) -> None:
        self._config = config
        self._verbose = verbose
        self._environ = {**os.environ}
        named = [f"{each} in the environment" for each in _VARIABLES if os.environ.get(each)]
        if endpoints:
            self._environ[_VARIABLES[0]] = endpoints
            named.insert(0, "--etcd-endpoints")
        self._named_by = named[0] if named else ""
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._netconf: Mapping[str, str] = {}
        self._followers: list[Session] = []
        self._store: Store | None = None
        self.etcd = ""
        self.record = Record()

    @property
    def is_endless(self) -> bool:
        """Whether nobody has said when the run must be over."""
        return self._deadline is None

    @property
    def left_s(self) -> float:
        """Seconds for the next step."""
        return self._left_s(_STEP_S)

    @property
    def scan_s(self) -> float:
        """Seconds for a step that reads everything; each of its pages has a time of its own."""
        return self._left_s(_SCAN_S)

    def _left_s(self, unlimited_s: float) -> float:
        if self._deadline is None:
            return unlimited_s
        return max(0.0, self._deadline - time.monotonic())

    def following(self, netconf: Mapping[str, str]) -> "Session":
        """
        Return the session at the etcd that our plugin uses with a network configuration.

        Args:
            netconf: Its `etcd_*` keys; they beat everything else, as they do for the plugin.
        """
        if not any(netconf.values()):
            return self
        given = f"--config {self._config}" if self._config else ""
        if self._named_by.startswith("--"):
            given = self._named_by
        if given:
            warn(f"{given} is ignored: the network configuration names the endpoints")
        other = copy.copy(self)
        other.__dict__.pop("settings", None)
        other._store, other._netconf, other._followers = None, netconf, []
        other._config, other._named_by = None, ""
        self._followers.append(other)
        return other

    @property
    def store(self) -> "Store":
        """
        The store; etcd is not asked before the first call on it.

        Raises:
            InvalidRequestError: No usable configuration.
        """
        if self._store is None:
            self.store = self._connected()
        assert self._store is not None
        return self._store

    @store.setter
    def store(self, store: "Store") -> None:
        from poolctl.noted import Noted

        self._store = Noted(store, self.record)

    def _connected(self) -> "Store":
        from poolmgr.store.etcd import EtcdStore

        store = EtcdStore(self.settings)
        if not self._verbose:
            return store
        from poolctl.trace import Traced

        return Traced(store)

    @cached_property
    def settings(self) -> "Settings":
        """
        Where etcd is, and how to be let in.

        Raises:
            InvalidRequestError: No usable configuration.
        """
        from poolmgr.store.source import settings_from

        config = None if self._named_by else self._config
        if self._config and self._named_by:
            warn(f"--config {self._config} is ignored: {self._named_by} names the endpoints")
        if config:
            _check_readable(config)
        try:
            settings, source = settings_from(self._netconf, self._environ, config)
        except RecursionError as error:
            which = config or "the configuration file"
            raise InvalidRequestError(f"{which} is nested too deeply") from error
        self.etcd = f"{', '.join(settings.endpoints)}, from {self._named_by or source}"
        return settings

    def close(self) -> None:
        """Disconnect."""
        for other in self._followers:
            other.close()
        if self._store is not None:
            self._store.close()


def _check_readable(config: Path) -> None:
    from poolmgr.api.manifests import check_file

    with contextlib.suppress(OSError):  # Whoever reads it says so better.
        check_file(str(config))
