"""Forgets buyers: what of an order names them goes when they ask, and where it is sent to goes once it has ended.

An erasure is heard once; an order may be open for weeks after it. So whoever was erased is remembered, and looked at again until
nothing is left. What was emptied is not found again, so that a look may end anywhere and another begins anew.
"""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection, Database
from careforall.kit.ids import NIL
from careforall.orders import repository_erasure

_BUYERS = 100
_BITE = 500


class Erasing:
    """Takes buyers out of orders and sagas.

    Args:
        return_days: How long after delivery an order is not ended yet.
        bite: How many orders, and as many sagas, are emptied in one transaction at most.
    """

    def __init__(self, database: Database, *, return_days: int, bite: int = _BITE) -> None:
        self._database = database
        self._return_days = return_days
        self._bite = bite

    async def erase(self, connection: Connection, user_ids: Sequence[UUID]) -> None:
        """Forget buyers in the caller's transaction; of somebody with very many orders the rest follows by `go_on`."""
        await repository_erasure.note(connection, user_ids)
        await self._empty(connection, user_ids)

    async def go_on(self) -> None:
        """Forget what ended since, or came late, of all who were erased."""
        after = NIL
        while buyers := await self._next(after):
            await self._finish(buyers)
            after = buyers[-1]

    async def _finish(self, buyers: Sequence[UUID]) -> None:
        while not await self._database.run(lambda connection: self._empty(connection, buyers)):
            pass
        await self._database.run(lambda connection: repository_erasure.settle(connection, buyers))

    async def _next(self, after: UUID) -> list[UUID]:
        async with self._database.connection() as connection:
            return await repository_erasure.unsettled(connection, after, _BUYERS)

    async def _empty(self, connection: Connection, user_ids: Sequence[UUID]) -> bool:
        """Take one bite and return whether it was the last."""
        sagas = await repository_erasure.empty_sagas(connection, user_ids, self._bite)
        orders = await repository_erasure.empty_orders(connection, user_ids, self._return_days, self._bite)
        return max(sagas, orders) < self._bite
