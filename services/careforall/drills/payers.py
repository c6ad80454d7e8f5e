"""Payers who give or order, go to the simulated gateway's page and pay there, whatever it makes of it, and staff behind them.

payers = Payers(load, people, sku="DRILL-1")
async with payers.paying(per_second=20):
    ...                                      # let the gateway misbehave
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from careforall.drills.buyers import Buyer
from careforall.drills.load import Load
from careforall.drills.paying import pay
from careforall.drills.people import People
from careforall.drills.polling import NotInTime

AT_ONCE = 200
"""Lives under way at most; more than that say only that the machine is too slow for the rate."""
REFUND_EVERY = 5


class Payers:
    """Whole lives at a bounded rate: gifts and orders by turns.

    Args:
        load: Where gifts and answers are written down.
        people: Who orders, each once.
        sku: What they order; there must be enough of it.
    """

    def __init__(self, load: Load, people: People, *, sku: str) -> None:
        self._load = load
        self._people = people
        self._sku = sku
        self.orders: dict[str, str] = {}
        """The intent of each order that was acknowledged."""
        self._lives: set[asyncio.Task[None]] = set()
        self.given = 0
        self.refused_refunds = 0
        self.unfinished: list[str] = []

    @property
    def intents(self) -> list[str]:
        """The intents of all accepted gifts and orders."""
        return [*self.gifts.values(), *self.orders.values()]

    @property
    def gifts(self) -> dict[str, str]:
        """The intent of each gift that was acknowledged."""
        return {gift["id"]: gift["payment_intent"]["id"] for gift in self._load.gifts.values()}

    @asynccontextmanager
    async def paying(self, *, per_second: float) -> AsyncIterator[None]:
        """Begin so many lives a second while the context is open; nobody new begins afterwards, see `finish`."""
        beginning = asyncio.create_task(self._begin(1 / per_second))
        try:
            yield
        finally:
            beginning.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await beginning

    async def finish(self) -> None:
        """Wait until everybody who began has come to an end."""
        await asyncio.gather(*self._lives)

    async def _begin(self, pause: float) -> None:
        while True:
            if len(self._lives) < AT_ONCE:
                self.given += 1
                life = asyncio.create_task(self._life(self.given))
                self._lives.add(life)
                life.add_done_callback(self._lives.discard)
            await asyncio.sleep(pause)

    async def _life(self, number: int) -> None:
        try:
            intent = await (self._order(number) if number % 2 else self._gift())
            if await pay(self._load, intent) and number % REFUND_EVERY == 0 and not await self._load.refund(intent):
                self.refused_refunds += 1
        except NotInTime as error:
            self.unfinished.append(str(error))

    async def _gift(self) -> str:
        """Give, and return the intent."""
        return str((await self._load.give_until_taken())["payment_intent"]["id"])

    async def _order(self, number: int) -> str:
        """Order, and return the intent."""
        buyer = Buyer(self._load, await self._people.signed_in(), sku=self._sku, token=f"{self._sku}-{number}")
        placed = await buyer.order()
        if placed is None:
            raise NotInTime(f"{self._sku} is sold out, which it cannot be")
        self.orders[placed.order_id] = placed.intent_id
        return placed.intent_id
