"""What the global options say: which etcd, and how long to wait for it."""

import os
import time
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from poolmgr.store.port import Store


class Session:
    """
    One run of poolctl.

    Args:
        config: File to use instead of the default ones.
        endpoints: Counts as ETCD_ENDPOINTS does, and beats it.
        timeout_s: For everything the run does.
    """

    def __init__(self, config: Path | None, endpoints: str | None, timeout_s: float) -> None:
        self._config = config
        self._environ = {**os.environ}
        if endpoints:
            self._environ["CALICO_ETCD_ENDPOINTS"] = endpoints
        self._deadline = time.monotonic() + timeout_s

    @property
    def left_s(self) -> float:
        """Seconds until the run must be over."""
        return max(0.0, self._deadline - time.monotonic())

    @cached_property
    def store(self) -> "Store":
        """
        The store; etcd is not asked before the first call on it.

        Raises:
            InvalidRequestError: No usable configuration.
        """
        from poolmgr.store.etcd import EtcdStore
        from poolmgr.store.source import settings_from

        settings, _ = settings_from(None, self._environ, self._config)
        return EtcdStore(settings)

    def close(self) -> None:
        """Disconnect."""
        if "store" in self.__dict__:
            self.store.close()
