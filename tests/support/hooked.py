"""A store where a test lets something happen right before a commit or right after it."""

from collections.abc import Callable

from poolmgr.core.txn import Txn
from poolmgr.store.memory import MemoryStore

Act = Callable[[], object]


class HookedStore(MemoryStore):
    """
    A store that calls back at one commit, at which it is quiet while that lasts.

    Attributes:
        before: Called before the first commit that `when` takes; what it raises ends that
            commit.
        after: Called when that commit has happened; what it raises hides its answer.
        when: Which commit it is.
    """

    before: Act | None = None
    after: Act | None = None

    @staticmethod
    def when(txn: Txn) -> bool:
        """Take any."""
        return bool(txn.puts or txn.deletes)

    def commit(self, txn, *, timeout_s=2.0):
        before = after = None
        if (self.before or self.after) and self.when(txn):
            before, after = self.before, self.after
            self.before = self.after = None
        if before:
            before()
        result = super().commit(txn, timeout_s=timeout_s)
        if after:
            after()
        return result


def interrupt() -> None:
    """Be the user who presses Ctrl-C."""
    raise KeyboardInterrupt
