"""Givers whose gateway's webhooks are lost for good, and staff that compares all the time: what only asking can complete.

async with Unheard(load).giving():
    ...                                      # let the process that asks die
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from careforall.kit.ids import new_id
from careforall_testing.load import PATIENCE_S, Load
from careforall_testing.polling import eventually

_PAUSE_S = 1.5


class Unheard:
    """Pays at the simulated gateway, which tells nobody."""

    def __init__(self, load: Load) -> None:
        self._load = load

    @asynccontextmanager
    async def giving(self) -> AsyncIterator[None]:
        """Give and compare without end while the context is open; what was begun is finished before it closes."""
        await self._load.journey.client.post("/simulator/control/switches", json={"drop": 1.0})
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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PAUSE_S)

    async def _gift(self) -> None:
        """Give, pay at the gateway's page, and come back."""
        answered = await self._load.give(str(new_id()))
        assert answered.good, answered
        gift = answered.document
        intent = gift["payment_intent"]["id"]

        async def at_the_gateway() -> bool:
            answer = await self._load.ask("pay", "POST", f"/pay/{intent}")
            return "/simulator/pay/" in answer.headers.get("location", "")

        await eventually(at_the_gateway, within_s=PATIENCE_S, every_s=0.3, what="the gateway's page")
        paid = await self._load.ask("simulate", "POST", f"/simulator/control/{intent}/success", json={})
        assert paid.good, paid
        self._load.paid.add(gift["id"])
        await self._load.ask("return", "GET", f"/pay/{intent}?return=1")

    async def _compare(self) -> None:
        """Order a comparison of the last two hours."""
        headers = {**self._load.journey.admin, "Idempotency-Key": str(new_id())}
        since = (datetime.now(UTC) - timedelta(hours=2)).isoformat()
        await self._load.ask("compare", "POST", "/api/v1/payments/reconciliation/run", json={"since": since}, headers=headers)
