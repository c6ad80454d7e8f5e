"""How long plumbing rows are kept (rule 6: inbox 30 days > stream 7 days > published outbox 72 h), deleted in small bites.

Rows are found by the time inside their UUIDv7, along the primary key, so that a bite costs the same however much is kept.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from careforall.kit.db import Connection, Database
from careforall.kit.ids import id_at
from careforall.kit.jobs import Job

OUTBOX = timedelta(hours=72)
INBOX = timedelta(days=30)
IDEMPOTENCY = timedelta(days=90)
_BITE = 5000
_HOURLY = 3600.0


def retention_job(service: str, database: Database, consumers: Sequence[str]) -> Job:
    """Return the hourly job that forgets what is older than its horizon."""

    async def work() -> None:
        now = datetime.now(UTC)
        await until_empty(database, _OLD_OUTBOX, id_at(now - OUTBOX, 0))
        for consumer in consumers:
            await until_empty(database, _OLD_INBOX, id_at(now - INBOX, 0), consumer)
        await until_empty(database, _OLD_KEYS, now - IDEMPOTENCY)

    return Job(name=f"{service}.retention", every=_HOURLY, work=work)


async def until_empty(database: Database, statement: str, *args: object, bite: int = _BITE) -> None:
    """Run a DELETE whose last parameter is how many rows it may take, in a transaction for each bite, until it takes fewer."""

    async def taken(connection: Connection) -> int:
        return int((await connection.execute(statement, *args, bite)).split()[-1])

    while await database.run(taken) == bite:
        pass


_OLD_OUTBOX = """
DELETE FROM outbox
WHERE id IN (SELECT id FROM outbox WHERE id < $1 AND status = 'PROCESSED' ORDER BY id LIMIT $2)
"""
_OLD_INBOX = """
DELETE FROM inbox
WHERE consumer = $2
  AND message_id IN (SELECT message_id FROM inbox WHERE consumer = $2 AND message_id < $1 ORDER BY message_id LIMIT $3)
"""
_OLD_KEYS = """
DELETE FROM idempotency_keys
WHERE (scope, key) IN (SELECT scope, key FROM idempotency_keys WHERE created_at < $1 LIMIT $2)
"""
