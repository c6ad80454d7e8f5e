"""What one connection to PostgreSQL is like, and what its errors mean."""

import asyncio
import contextlib
from typing import Any, cast

import asyncpg

SYNC_WAIT_CANCELLED = "canceling wait for synchronous replication"
_RETRY_CLASS = "40"
_GONE = ("08", "53", "57", "58", "25006")
"""SQLSTATEs by which a server says that it cannot serve just now, also because its disk is full (53100): nothing was done."""
WIRE_ERRORS = (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError, asyncio.TimeoutError, ConnectionError)
"""What the driver raises when the connection is of no use any more; a server that ends at the wrong moment confuses its state."""
BROKEN = (*WIRE_ERRORS, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError)
"""What leaves a COMMIT without an answer that can be believed."""

BY_KEYS = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}
"""What goes through the pool looks rows up by keys.

A plan kept from when a table was empty would read it from end to end for every batch, until somebody analyses it. Long statements
over whole tables have sessions of their own (`Database.dedicated`).

Busy statements over small batches hide their first array of keys in a subquery, `unnest((SELECT $1::uuid[]), ...)`. Who lets the
planner see how few keys there are has each call planned anew, because a plan for a few looks cheaper than the one for any number,
which could be kept; for a purchase that was a fifth of what PostgreSQL did. Forcing such plans on all statements would be worse:
some are planned well only with their values, by which a partial index is seen to serve them.
"""


class CareConnection(asyncpg.Connection):
    """A connection that remembers a cancelled replication wait and needs no reset round trip on release.

    Nothing here may use session state (LISTEN, SET, session advisory locks) through the pool; such users open a
    connection of their own with `Database.dedicated`.
    """

    __slots__ = ("cluster", "sync_wait_cancelled", "timeline")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sync_wait_cancelled = False
        self.cluster, self.timeline = "", 0

    def _process_log_message(self, fields: dict[str, str], last_query: object) -> None:  # the stubs leave it out
        # The driver's public listeners must be removed before each release; a note that stays is what we need.
        if fields.get("M", "").startswith(SYNC_WAIT_CANCELLED):
            self.sync_wait_cancelled = True
        super()._process_log_message(fields, last_query)  # type: ignore[misc]  # missing in the stubs

    async def close(self, *, timeout: float | None = None) -> None:
        """Say good-bye, or cut off who does not answer: the pool lets go of old connections in tasks that nobody waits for."""
        with contextlib.suppress(*WIRE_ERRORS):
            await super().close(timeout=timeout)

    def get_reset_query(self) -> str:
        """Return no statement: pooled users leave no session state behind."""
        return ""


def bare(connection: Any) -> CareConnection:
    """Return the connection behind a pool proxy."""
    return cast("CareConnection", getattr(connection, "_con", connection))


def is_gone(error: asyncpg.PostgresError) -> bool:
    """Whether the server cannot serve just now."""
    return (error.sqlstate or "").startswith(_GONE)


def is_retryable(error: asyncpg.PostgresError) -> bool:
    """Whether the whole transaction may be done again: a deadlock or a serialisation failure."""
    return (error.sqlstate or "").startswith(_RETRY_CLASS)


async def rollback(transaction: Any, error: BaseException) -> None:
    """Undo a transaction that `error` ended, as far as its connection can still be talked to."""
    if isinstance(error, WIRE_ERRORS):
        return  # the connection is thrown away: who did not answer once would only be waited for once more
    try:
        await asyncio.shield(transaction.rollback())
    except (*WIRE_ERRORS, asyncpg.PostgresError):
        return  # the connection is gone and with it the transaction
