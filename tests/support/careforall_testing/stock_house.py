"""Inventory as real processes on one database, with staff who are signed in, and buyers who click twice and do not give up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from msgspec import Struct

from careforall.audit.verification.stock import STOCK
from careforall.drills.rush import clicked, rush
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.servers import ServerUrls
from careforall_testing.stock import LONG_AGO

HELD, SERVER_ERROR = 201, 500
RESERVATIONS = "/api/v1/inventory/reservations"
STOCK_PATH = "/api/v1/admin/inventory"
PATIENCE = 60


class StockHouse(Struct, frozen=True, kw_only=True):
    """The processes and their clients; the first has hot paths, the second goes through the framework alone."""

    running: Platform
    callers: Callers
    doors: tuple[httpx2.AsyncClient, ...]
    internal: httpx2.AsyncClient
    staff: dict[str, str]

    def door(self, name: str) -> httpx2.AsyncClient:
        """The client of one of the two kinds of processes."""
        return self.doors[0 if name == "hot" else 1]

    async def put(self, sku: str, on_hand: int, **more: Any) -> dict[str, Any]:
        """Count a SKU's stock."""
        answer = await self.doors[0].put(STOCK_PATH, json={"sku": sku, "on_hand": on_hand} | more, headers=self.staff)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def stock(self, sku: str) -> dict[str, Any]:
        """What everybody may see of a SKU."""
        answer = await self.doors[0].get(f"/api/v1/inventory/{sku}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def violations(self) -> list[str]:
        """What `careforall verify` would say is wrong with the stock."""
        async with self.running.database("inventory") as database:
            return [
                f"{one.name}: {row['key']} {row['detail']}" for one in STOCK for row in await database.fetch(one.sql, LONG_AGO)
            ]

    async def value(self, sql: str, *args: object) -> Any:
        """Read one value."""
        async with self.running.database("inventory") as database:
            return await database.fetchval(sql, *args)


class Buyers:
    """Each wants one unit under a key of its own, asks until it is answered, and often clicks twice."""

    def __init__(self, house: StockHouse, sku: str, chance: random.Random) -> None:
        self._house = house
        self._sku = sku
        self._chance = chance
        self.answers: dict[str, set[tuple[int, bytes]]] = {}

    async def rush(self, number: int, *, workers: int = 64) -> None:
        """Let so many come, some at a time."""
        waiting = [f"buyer-{index}" for index in range(len(self.answers), len(self.answers) + number)]

        async def come(name: str) -> None:
            await clicked(lambda: self._buy(name), self._chance)

        await rush(waiting, come, workers=workers)

    @property
    def served(self) -> list[str]:
        """Who holds something."""
        return [name for name, answers in self.answers.items() if any(status == HELD for status, _ in answers)]

    async def _buy(self, name: str) -> None:
        body = {"lines": [{"sku": self._sku, "quantity": 1}]}
        headers = self._house.staff | {"Idempotency-Key": name}
        for _ in range(PATIENCE * 10):
            door = self._chance.choice(self._house.doors)
            try:
                answer = await door.post(RESERVATIONS, json=body, headers=headers)
            except httpx2.HTTPError:
                await asyncio.sleep(0.1)
                continue
            if answer.status_code < SERVER_ERROR:
                kept = answer.content if answer.status_code == HELD else b""
                self.answers.setdefault(name, set()).add((answer.status_code, kept))
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"{name} was never answered")


@asynccontextmanager
async def stock_house(urls: ServerUrls, *, roles: Sequence[str] = ("all", "api")) -> AsyncIterator[StockHouse]:
    """Start the processes and somebody who signs tokens."""
    async with platform(urls, databases_of=["inventory"]) as running, signing_in(running) as callers:
        served = [
            await running.serve(["inventory"], role=role, wait=False, CAREFORALL_HOT_PATHS="true" if hot else "false")
            for role, hot in zip(roles, (True, False), strict=False)
        ]
        for one in served:
            await one.wait_ready()
        async with client_of(served[-1].url) as last, client_of(served[0].internal_url) as internal:
            doors = (running.client, last) if len(served) > 1 else (running.client,)
            yield StockHouse(running=running, callers=callers, doors=doors, internal=internal, staff=callers.admin())
