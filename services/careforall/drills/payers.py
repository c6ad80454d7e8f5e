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

from careforall.drills.load import PATIENCE_S, Load
from careforall.drills.polling import NotInTime, eventually

AT_ONCE = 200
"""Lives under way at most; more than that say only that the machine is too slow for the rate."""
REFUND_EVERY = 5
TRIES = 6
"""How often a declined payer tries again."""
_HOSTED = "/simulator/pay/"
_PAID = (b"your payment arrived", b"Payment authorised", b"Payment returned")


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
        paid = await self._pay(gift["payment_intent"]["id"])
        if paid and refund and not await self._load.refund(gift):
            self.refused_refunds += 1

    async def _pay(self, intent: str) -> bool:
        """Pay at the gateway's page, again where one is declined; false for somebody who gave up."""
        for _ in range(TRIES):
            hosted = await at_the_gateway(self._load, intent)
            if not hosted:
                return True
            answered = await self._load.ask("press", "POST", f"{hosted}/pay")
            back = answered.headers.get("location", "")
            await self._load.ask("return", "GET", f"/pay/{intent}?return=1")
            if "redirect_status=succeeded" in back:
                return True
        return False


async def at_the_gateway(load: Load, intent: str) -> str:
    """Open the pay page until it leads to the gateway, and return the path there; empty where it is paid already."""
    path = ""

    async def there() -> bool:
        nonlocal path
        answered = await load.ask("pay", "POST", f"/pay/{intent}")
        where = answered.headers.get("location", "")
        path = _HOSTED + where.partition(_HOSTED)[2].partition("?")[0] if _HOSTED in where else ""
        return bool(path) or (bool(where) and await _is_paid(load, intent))

    await eventually(there, within_s=PATIENCE_S, every_s=0.3, what="the gateway's page")
    return path


async def _is_paid(load: Load, intent: str) -> bool:
    """Whether our own page says so."""
    page = await load.ask("read", "GET", f"/pay/{intent}")
    return any(sentence in page.body for sentence in _PAID)
