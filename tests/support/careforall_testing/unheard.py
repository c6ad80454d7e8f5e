"""Givers whose gateway's webhooks are lost for good, and staff that compares all the time: what only asking can complete.

async with Unheard(load).giving():
    ...                                      # let the process that asks die
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from careforall.drills.load import Load, pause
from careforall.drills.paying import at_the_gateway
from careforall.kit.ids import new_id

_PAUSE_S = 1.5


class Unheard:
    """Pays at the simulated gateway, which tells nobody."""

    def __init__(self, load: Load) -> None:
        self._load = load

    @asynccontextmanager
    async def giving(self) -> AsyncIterator[None]:
        """Give and compare without end while the context is open; what was begun is finished before it closes."""
        await self._load.visitor.client.post("/simulator/control/switches", json={"drop": 1.0})
        stop = asyncio.Event()
        work = [asyncio.create_task(self._repeat(stop, one)) for one in (self._gift, self._compare)]
        try:
            yield
        finally:
            stop.set()
            finished = await asyncio.gather(*work, return_exceptions=True)
        for error in finished:
            if isinstance(error, BaseException):
                raise error

    @staticmethod
    async def _repeat(stop: asyncio.Event, work: Any) -> None:
        while not stop.is_set():
            await work()
            await pause(stop, _PAUSE_S)

    async def _gift(self) -> None:
        """Give, pay at the gateway's page, and come back."""
        answered = await self._load.give(str(new_id()))
        assert answered.good, answered
        gift = answered.document
        intent = gift["payment_intent"]["id"]
        await at_the_gateway(self._load, intent)
        paid = await self._load.ask("simulate", "POST", f"/simulator/control/{intent}/success", json={})
        assert paid.good, paid
        self._load.paid.add(gift["id"])
        await self._load.ask("return", "GET", f"/pay/{intent}?return=1")

    async def _compare(self) -> None:
        """Order a comparison of the last two hours."""
        headers = {**await self._load.visitor.staff(), "Idempotency-Key": str(new_id())}
        since = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
        await self._load.ask("compare", "POST", "/api/v1/payments/reconciliation/run", json={"since": since}, headers=headers)
