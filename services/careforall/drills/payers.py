"""Payers who give, go to the simulated gateway's page and pay there, whatever the gateway makes of it, and staff behind them.

payers = Payers(load)
async with payers.paying(per_second=20):
    ...                                      # let the gateway misbehave
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from careforall.drills.load import Load
from careforall.drills.paying import pay
from careforall.drills.polling import NotInTime

AT_ONCE = 200
"""Lives under way at most; more than that say only that the machine is too slow for the rate."""
REFUND_EVERY = 5


class Payers:
    """Whole lives at a bounded rate.

    Args:
        load: Where gifts and answers are written down.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._lives: set[asyncio.Task[None]] = set()
        self.given = 0
        self.refused_refunds = 0
        self.unfinished: list[str] = []

    @property
    def intents(self) -> list[str]:
        """The intents of all accepted gifts."""
        return [gift["payment_intent"]["id"] for gift in self._load.gifts.values()]

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
            await self._gift(refund=number % REFUND_EVERY == 0)
        except NotInTime as error:
            self.unfinished.append(str(error))

    async def _gift(self, *, refund: bool) -> None:
        gift = await self._load.give_until_taken()
        paid = await pay(self._load, gift["payment_intent"]["id"])
        if paid and refund and not await self._load.refund(gift):
            self.refused_refunds += 1
