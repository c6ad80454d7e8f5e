"""A fake database: row locks, read committed, commits of unknown outcome, failovers that lose what nobody confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from careforall_testing.simulation.faults import Faults
from careforall_testing.simulation.scheduler import Scheduler, Steps

T = TypeVar("T")
K = TypeVar("K")
V = TypeVar("V")

_LOCK_POLL = 0.01
_LOCK_TIMEOUT = 2.0
_DOUBT_SECONDS = 0.3
_STANDBY_AWAY = 1.5


class DatabaseGone(Exception):
    """The connection broke or a deadlock was ended: the transaction had no effect."""


class UnknownCommit(Exception):
    """COMMIT was sent and nobody knows what became of it."""


class Table(Generic[K, V]):
    """Committed rows by key, and who holds which lock."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rows: dict[K, V] = {}
        self.locks: dict[K, Transaction] = {}


class Transaction:
    """Sees what is committed and what it wrote itself; holds every row it wrote or locked."""

    __slots__ = ("_held", "_scheduler", "open", "waits", "writes")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held: list[tuple[Table[Any, Any], Any]] = []
        self.writes: dict[tuple[Table[Any, Any], Any], Any] = {}
        self.open = True

    def get(self, table: Table[K, V], key: K) -> V | None:
        """Read a row without locking it."""
        self.check()
        if (table, key) in self.writes:
            return self.writes[table, key]  # type: ignore[no-any-return]  # written by `put` under the same table
        return table.rows.get(key)

    def try_lock(self, table: Table[K, V], key: K) -> bool:
        """Lock a row, or the absence of one, if nobody else holds it."""
        self.check()
        holder = table.locks.get(key)
        if holder is None:
            table.locks[key] = self
            self._held.append((table, key))
            return True
        return holder is self

    def lock(self, table: Table[K, V], key: K) -> Steps[None]:
        """Lock a row, waiting for whoever holds it.

        Raises:
            DatabaseGone: A deadlock, told by a wait that is too long.
        """
        patience = self._scheduler.now + _LOCK_TIMEOUT
        while not self.try_lock(table, key):
            if self._scheduler.now > patience:
                raise DatabaseGone
            yield _LOCK_POLL

    def put(self, table: Table[K, V], key: K, row: V) -> None:
        """Write a locked row."""
        assert table.locks.get(key) is self, f"{table.name} {key} is not locked"
        self.writes[table, key] = row

    def delete(self, table: Table[K, V], key: K) -> None:
        """Delete a locked row."""
        assert table.locks.get(key) is self, f"{table.name} {key} is not locked"
        self.writes[table, key] = None

    def check(self) -> None:
        """Raise if a failover ended this transaction."""
        if not self.open:
            raise DatabaseGone

    def end(self) -> None:
        """Release all locks."""
        self.open = False
        for table, key in self._held:
            if table.locks.get(key) is self:
                del table.locks[key]
        self._held.clear()


class Session:
    """A connection of its own that may hold the advisory lock of the relay."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.alive = True

    def try_lead(self) -> bool:
        """Take the lock if it is free."""
        self.check()
        if self._database.leader is None:
            self._database.leader = self
        return self._database.leader is self

    def check(self) -> None:
        """Raise if the connection is gone."""
        if not self.alive:
            raise DatabaseGone

    def close(self) -> None:
        """End the connection and release the lock; also what a cut wire does."""
        self.alive = False
        if self._database.leader is self:
            self._database.leader = None


class Database:
    """The database of one service."""

    def __init__(self, name: str, scheduler: Scheduler, faults: Callable[[], Faults]) -> None:
        self.name = name
        self.leader: Session | None = None
        self._scheduler = scheduler
        self._faults = faults
        self._open: dict[Transaction, None] = {}
        self._unconfirmed: list[list[tuple[Table[Any, Any], Any, Any]]] = []
        self._standby = True

    def run(self, work: Callable[[Transaction], Steps[T]]) -> Steps[T]:
        """Run `work` and commit.

        Raises:
            DatabaseGone: Nothing happened.
            UnknownCommit: It happened, or will, or not.
        """
        transaction = Transaction(self._scheduler)
        self._open[transaction] = None
        doubtful = False
        try:
            result = yield from work(transaction)
            yield "database.before_commit"
            transaction.check()
            doubtful = self._commit(transaction)
        finally:
            if not doubtful:
                self._forget(transaction)
        if doubtful:
            raise UnknownCommit
        return result

    def failover(self) -> None:
        """Promote the standby: what was open is gone, and so is what was visible but never confirmed."""
        for transaction in list(self._open):
            self._forget(transaction)
        for undo in reversed(self._unconfirmed):
            for table, key, row in reversed(undo):
                _set(table, key, row)
        self._confirm()
        self.cut_session()

    def lose_standby(self) -> None:
        """Lose the standby for a while: nothing is confirmed until it is back, or until it takes over without us."""
        self._standby = False
        comes_back = self._scheduler.random.random() < 1 / 2
        ending = self._confirm if comes_back else self.failover
        self._scheduler.after(self._scheduler.random.random() * _STANDBY_AWAY, ending)

    def cut_session(self) -> None:
        """Break the connection that holds the relay's lock; its owner does not know yet."""
        if self.leader is not None:
            self.leader.close()

    def _commit(self, transaction: Transaction) -> bool:
        """Commit; return whether the client is left in doubt, in which case the server decides later."""
        if not transaction.writes:
            return False
        if self._standby and self._scheduler.random.random() >= self._faults().unknown_commit:
            self._apply(transaction)
            self._confirm()
            return False
        delay = self._scheduler.random.random() * _DOUBT_SECONDS
        self._scheduler.after(delay, lambda: self._decide(transaction))
        return True

    def _decide(self, transaction: Transaction) -> None:
        """End a doubtful commit: lost, or visible and unconfirmed, or safe with only its answer lost."""
        if not transaction.open:
            return
        fate = self._scheduler.random.random()
        if fate > 1 / 3:
            self._unconfirmed.append(self._apply(transaction))
        if fate > 2 / 3 and self._standby:
            self._confirm()
        self._forget(transaction)

    def _confirm(self) -> None:
        """The standby has everything that is visible."""
        self._standby = True
        self._unconfirmed.clear()

    def _apply(self, transaction: Transaction) -> list[tuple[Table[Any, Any], Any, Any]]:
        undo = []
        for (table, key), row in transaction.writes.items():
            undo.append((table, key, table.rows.get(key)))
            _set(table, key, row)
        return undo

    def _forget(self, transaction: Transaction) -> None:
        transaction.end()
        self._open.pop(transaction, None)


def _set(table: Table[K, V], key: K, row: V | None) -> None:
    if row is None:
        table.rows.pop(key, None)
    else:
        table.rows[key] = row
