"""The hourly look at what should not be: holds without an order, orders without stock or money. It repairs what is safe.

Sagas finish by themselves, so that each finding is a sign of something else that went wrong. What holds stock for nobody is
called off; orders that say CONFIRMED without a payment are for a person. Payments without an order are found where the money is
(payments).
"""

import structlog

from careforall.kit.db import Database
from careforall.orders import repository_findings
from careforall.orders.metrics import UNFINISHED

log = structlog.get_logger(__name__)


class Reconciling:
    """Compares sagas and orders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> dict[str, int]:
        """Count what should not be, and wake sagas that hold stock without an order for half an hour."""
        async with self._database.connection() as connection:
            found = await repository_findings.count(connection)
        if found["stale_holds"]:
            await self._database.run(repository_findings.wake_stale)
        for kind, number in found.items():
            UNFINISHED.labels(kind=kind).set(number)
            if number:
                log.warning("orders do not add up", kind=kind, number=number)
        return found
