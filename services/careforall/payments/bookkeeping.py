"""Reads the ledger for staff, and keeps its sums: what is booked is never touched again, so sums are only ever added to."""

from uuid import UUID

import structlog

from careforall.kit.db import Connection, Database
from careforall.kit.errors import Locked
from careforall.payments import repository_ledger
from careforall.payments.ledger import Entry
from careforall.payments.repository_ledger import Balance, LedgerFilter

log = structlog.get_logger(__name__)


class Bookkeeping:
    """The ledger as staff see it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def entries(self, wanted: LedgerFilter, before: UUID | None, limit: int) -> list[Entry]:
        """Return entries with their lines, newest first."""

        async def read(connection: Connection) -> list[Entry]:
            return await repository_ledger.entries(connection, wanted, before, limit)

        return await self._database.run(read)

    async def balances(self, wanted: LedgerFilter) -> list[Balance]:
        """Return the balance of each account."""
        async with self._database.connection() as connection:
            return await repository_ledger.balances(connection, wanted)

    async def roll_up(self) -> None:
        """Add what was booked since the last time to the sums; while somebody books for long, that is left to the next run."""
        try:
            until = await self._database.run(repository_ledger.all_booked_before)
        except Locked:
            log.info("ledger not rolled up: somebody is booking")
            return
        await self._database.run(lambda connection: repository_ledger.roll_up(connection, until))
