"""One pool per database, whole-transaction retry, and honest answers when PostgreSQL is away.

Every service method opens its transaction here. A connection that became useless (read-only server, older timeline, cut
wire, unanswered COMMIT) is thrown away with its whole pool generation, because its neighbours came from the same server.
"""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, TypeVar, cast
from weakref import WeakSet

import asyncpg
import msgspec
import structlog
from asyncpg.pool import PoolConnectionProxy

from careforall.kit import context
from careforall.kit.connections import (
    BROKEN,
    BY_KEYS,
    SYNC_WAIT_CANCELLED,
    WIRE_ERRORS,
    CareConnection,
    bare,
    is_gone,
    is_retryable,
    rollback,
)
from careforall.kit.errors import DatabaseUnavailable, Locked, TooSlow, UnknownOutcome
from careforall.kit.timelines import SERVER_STATE, Timelines, oldest
from careforall.kit.tracing import Tracing, is_sampled

log = structlog.get_logger(__name__)

T = TypeVar("T")

_ATTEMPTS = 6
_TELL_EVERY = 30.0
"""Seconds between two words in the log on why a database cannot be used."""
_OPENED_AT_ONCE = 2
"""Connections that a database opens at the same time. When a server comes back on a busy machine, whoever shares its few moments
among all that are wanted has none ready before their time is up, and begins again for ever.
"""


Connection = CareConnection
"""What repositories take: an open connection inside a transaction."""


class PoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes and deadlines of a pool; times in seconds."""

    min_size: int = 1
    max_size: int = 8
    acquire_timeout: float = 0.8
    connect_timeout: float = 0.8
    command_timeout: float = 6.0
    statement_timeout_ms: int = 5000
    lock_timeout_ms: int = 1000
    idle_in_transaction_ms: int = 10_000
    max_idle: float = 300.0


class Database:
    """A pool with the project's database habits. Open it once per process and database."""

    def __init__(
        self,
        dsn: str,
        *,
        name: str,
        settings: PoolSettings,
        timelines: Timelines | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        self.name = name
        self.dsn = dsn
        self.settings = settings
        self._timelines = timelines or Timelines()
        self._tracing = tracing
        self._pool: asyncpg.Pool | None = None
        self._waiting = 0
        self._opening = asyncio.Semaphore(_OPENED_AT_ONCE)
        self._evictions: set[asyncio.Task[None]] = set()
        self._pooled: WeakSet[CareConnection] = WeakSet()
        self._sessions: WeakSet[CareConnection] = WeakSet()
        self.on_commit: Callable[[], None] | None = None
        """Called after each transaction, to wake whoever waits for its outbox rows."""
        self.doubted: Callable[[], bool] | None = None
        """Says whether somebody who watches the server warns of it, so that readers keep to their caches."""
        self.queries = 0
        self.failures = 0
        self.last_failure: float | None = None
        self._told: float | None = None
        self.last_success: float | None = None

    async def open(self) -> None:
        """Create the pool without requiring the server: a service may start while its database is away."""
        self._pool = await asyncpg.create_pool(
            self.dsn,
            min_size=0,
            max_size=self.settings.max_size,
            connection_class=CareConnection,
            connect=self._connect,
            init=self._admit,
            max_inactive_connection_lifetime=self.settings.max_idle,
            command_timeout=self.settings.command_timeout,
            timeout=self.settings.connect_timeout,
            server_settings=self._server_settings(),
        )

    async def close(self) -> None:
        """Close the pool, waiting shortly for work in progress."""
        if self._pool is None:
            return
        pool, self._pool = self._pool, None
        try:
            async with asyncio.timeout(5):
                await pool.close()
        except TimeoutError:
            pool.terminate()

    async def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        attempts: int = _ATTEMPTS,
        shared_by: Iterable[str | None] | None = None,
    ) -> T:
        """Run `work` in one transaction; repeat the whole of it after deadlocks and serialisation failures.

        Args:
            work: The statements.
            attempts: How often at most.
            shared_by: The `traceparent`s of all for whom it is; that of the running task if not given.

        Raises:
            DatabaseUnavailable: Nothing was committed.
            UnknownOutcome: COMMIT was sent and not answered, or its replication wait was cancelled (rule 2).
        """
        with self._traced("transaction", shared_by):
            return await self._repeated(lambda: self._once(work), attempts)

    async def _repeated(self, once: Callable[[], Awaitable[T]], attempts: int) -> T:
        for attempt in range(attempts):
            try:
                return await once()
            except asyncpg.PostgresError as error:
                if not is_retryable(error) or attempt + 1 == attempts:
                    raise
                await asyncio.sleep(random.uniform(0, 0.01 * 2**attempt))  # noqa: S311 - jitter, not a secret
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def single(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        attempts: int = _ATTEMPTS,
        shared_by: Iterable[str | None] | None = None,
    ) -> T:
        """Run `work`, which is exactly one statement that writes and so a transaction of its own, in one round trip; see `run`.

        Raises:
            DatabaseUnavailable: Nothing was committed.
            UnknownOutcome: The statement was sent and not answered, or its replication wait was cancelled (rule 2).
        """
        with self._traced("transaction", shared_by):
            return await self._repeated(lambda: self._once_single(work), attempts)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Lend a connection outside a transaction, for single reads."""
        with self._traced("query"):
            raw = await self._acquire()
            try:
                yield cast("Connection", raw)
                self._succeeded()
            except BaseException as error:
                await self._judge(error)
                raise
            finally:
                await self._release(raw)

    @asynccontextmanager
    async def snapshot(self) -> AsyncIterator[Connection]:
        """Lend a connection on which several reads see the same moment, and which can write nothing."""
        async with self.connection() as connection:
            opened = connection.transaction(isolation="repeatable_read", readonly=True)
            await opened.start()
            try:
                yield connection
            except BaseException as error:
                await rollback(opened, error)
                raise
            await opened.commit()

    async def fetch(self, sql: str, *args: object) -> list[asyncpg.Record]:
        """Run a single read and return its rows."""
        async with self.connection() as connection:
            return await connection.fetch(sql, *args)

    async def fetchrow(self, sql: str, *args: object) -> asyncpg.Record | None:
        """Run a single read and return its first row."""
        async with self.connection() as connection:
            return await connection.fetchrow(sql, *args)

    async def dedicated(self) -> Connection:
        """Open a connection outside the pool, for session advisory locks; the caller closes it.

        Raises:
            DatabaseUnavailable: If the server cannot be reached, is read-only or of an older timeline.
        """
        try:
            connection = await self._connect(
                self.dsn,
                timeout=self.settings.connect_timeout,
                command_timeout=self.settings.command_timeout,
                connection_class=CareConnection,
                server_settings={"application_name": f"careforall-{self.name}-session"},
            )
        except (*WIRE_ERRORS, asyncpg.PostgresError) as error:
            self._failed(error)
            raise DatabaseUnavailable from error
        try:
            self._sessions.add(await self._known(connection))
        except BaseException as error:
            connection.terminate()
            await self._judge(error)
            raise
        return connection

    def usage(self) -> dict[str, int]:
        """Return the pool's figures under the names of the operations endpoints."""
        size = self._pool.get_size() if self._pool else 0
        idle = self._pool.get_idle_size() if self._pool else 0
        return {
            "size": self.settings.max_size,
            "checked_in": idle,
            "checked_out": size - idle,
            "overflow": 0,
            "waiting": self._waiting,
            "total": size,
        }

    def timelines(self) -> dict[str, int]:
        """Return the oldest timeline that sessions and connections to be lent are open to, by the cluster's identifier."""
        return oldest(one for one in (*self._pooled, *self._sessions) if not one.is_closed())

    @property
    def available(self) -> bool:
        """Whether the last thing heard from the server was not a failure, and nobody warns of it."""
        if self.doubted is not None and self.doubted():
            return False
        return self.last_failure is None or (self.last_success or 0) > self.last_failure

    async def _connect(self, *args: Any, **kwargs: Any) -> CareConnection:
        async with self._opening:
            return cast("CareConnection", await asyncpg.connect(*args, **kwargs))

    def _traced(self, operation: str, shared_by: Iterable[str | None] | None = None) -> AbstractContextManager[None]:
        """Trace an operation for those who share it, where any of them is sampled."""
        members = (context.current().traceparent,) if shared_by is None else dict.fromkeys(shared_by)
        sampled = [one for one in members if is_sampled(one)]
        if self._tracing is None or not sampled:
            return _UNTRACED
        return self._tracing.transaction(self.name, operation, sampled)

    async def _once(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def transaction(raw: PoolConnectionProxy) -> T:
            connection = cast("Connection", raw)
            inner = bare(raw)  # asked after COMMIT, when the proxy of a connection that broke has already let go of it
            opened = connection.transaction()
            await opened.start()
            try:
                result = await work(connection)
            except BaseException as error:
                await rollback(opened, error)
                raise
            await self._commit(inner, opened)
            return result

        return await self._lent(transaction)

    async def _once_single(self, work: Callable[[Connection], Awaitable[T]]) -> T:
        async def statement(raw: PoolConnectionProxy) -> T:
            inner = bare(raw)
            try:
                async with asyncio.timeout(self.settings.command_timeout):
                    result = await work(cast("Connection", raw))
            except BROKEN as error:
                self._evict(error)
                raise UnknownOutcome from error
            self._refuse_unreplicated(inner)
            return result

        return await self._lent(statement)

    async def _lent(self, use: Callable[[PoolConnectionProxy], Awaitable[T]]) -> T:
        """Lend a connection to what commits on it, judge what it raises, and tell who waits for commits."""
        raw = await self._acquire()
        try:
            result = await use(raw)
        except BaseException as error:
            await self._judge(error)
            raise
        finally:
            await self._release(raw)
        self._succeeded()
        if self.on_commit is not None:
            self.on_commit()
        return result

    async def _commit(self, connection: CareConnection, transaction: Any) -> None:
        try:
            async with asyncio.timeout(self.settings.command_timeout):
                await transaction.commit()
        except BROKEN as error:
            self._evict(error)
            raise UnknownOutcome from error
        self._refuse_unreplicated(connection)

    def _refuse_unreplicated(self, connection: CareConnection) -> None:
        if connection.sync_wait_cancelled:
            self._evict(SYNC_WAIT_CANCELLED)
            raise UnknownOutcome

    async def _acquire(self) -> PoolConnectionProxy:
        if self._pool is None:
            raise DatabaseUnavailable
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=self.settings.acquire_timeout)
        except (*WIRE_ERRORS, asyncpg.PostgresError) as error:
            self._failed(error)
            raise DatabaseUnavailable from error
        finally:
            self._waiting -= 1

    async def _release(self, raw: PoolConnectionProxy) -> None:
        if self._pool is None:
            return
        try:
            await asyncio.shield(self._pool.release(raw))
        except (*WIRE_ERRORS, asyncpg.PostgresError) as error:
            self._evict(error)

    async def _judge(self, error: BaseException) -> None:
        """Translate the loss of the server into our words; leave every other error alone."""
        if isinstance(error, asyncpg.LockNotAvailableError):
            raise Locked from error
        if isinstance(error, asyncpg.QueryCanceledError):
            raise TooSlow from error
        if isinstance(error, UnknownOutcome):
            self._failed(error)
            return
        if isinstance(error, WIRE_ERRORS) or (isinstance(error, asyncpg.PostgresError) and is_gone(error)):
            self._evict(error)
            raise DatabaseUnavailable from error

    def _evict(self, cause: object) -> None:
        self._failed(cause)
        self._expire()

    def _expire(self) -> None:
        """Lend no connection again that is open now."""
        self._pooled.clear()
        if self._pool is not None:
            task = asyncio.ensure_future(self._pool.expire_connections())
            self._evictions.add(task)
            task.add_done_callback(self._evictions.discard)

    def _failed(self, cause: object) -> None:
        self.failures += 1
        self.last_failure = time.monotonic()
        if self._told is None or self.last_failure - self._told >= _TELL_EVERY:
            self._told = self.last_failure
            log.warning("database unavailable", service=self.name, error=repr(cause))

    def _succeeded(self) -> None:
        self.queries += 1
        self.last_success = time.monotonic()

    async def _admit(self, connection: asyncpg.Connection) -> None:
        """Refuse a read-only server or one of an older timeline as soon as the pool is connected to it."""
        self._pooled.add(await self._known(connection))

    async def _known(self, connection: asyncpg.Connection) -> CareConnection:
        """Note which timeline a connection is open to, and let go of older ones.

        Of a primary that froze nothing is heard: its idle connections would look open until somebody used them.
        """
        row = await connection.fetchrow(SERVER_STATE)
        if row is None or row["standby"]:
            raise asyncpg.ReadOnlySQLTransactionError("connected to a read-only server")
        if not self._timelines.admit(row["cluster"], row["timeline"]):
            raise asyncpg.ReadOnlySQLTransactionError("connected to a server of an older timeline")
        if any(one.cluster == row["cluster"] and one.timeline < row["timeline"] for one in self._pooled):
            self._expire()
        known = cast("CareConnection", connection)
        known.cluster, known.timeline = row["cluster"], row["timeline"]
        return known

    def _server_settings(self) -> dict[str, str]:
        return {
            "application_name": f"careforall-{self.name}",
            "statement_timeout": str(self.settings.statement_timeout_ms),
            "lock_timeout": str(self.settings.lock_timeout_ms),
            "idle_in_transaction_session_timeout": str(self.settings.idle_in_transaction_ms),
            "jit": "off",
            "timezone": "UTC",
            **BY_KEYS,
        }


_UNTRACED = nullcontext()
