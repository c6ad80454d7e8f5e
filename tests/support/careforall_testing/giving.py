"""What tests of donations share: campaigns to give to, gifts to give, and a look at what was stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from msgspec import Struct

from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.servers import ServerUrls

DONATIONS = "/api/v1/donations"
CAMPAIGNS = "/api/v1/campaigns"
TABLES = ("donations", "donation_history", "idempotency_keys", "outbox")


class GivingHouse(Struct, frozen=True, kw_only=True):
    """The donations service twice on one database: with and without hot paths."""

    running: Platform
    callers: Callers
    hot: httpx2.AsyncClient
    cold: httpx2.AsyncClient
    internal: httpx2.AsyncClient

    def door(self, name: str) -> httpx2.AsyncClient:
        """The client of one of the two processes."""
        return self.hot if name == "hot" else self.cold

    async def campaign(self, **changes: Any) -> dict[str, Any]:
        """Create a campaign; LIVE unless told otherwise."""
        body = {"title": "Wells", "goal": "1000.00", "currency": "EUR", "status": "LIVE"} | changes
        answer = await self.hot.post(CAMPAIGNS, json=body, headers=self.callers.admin())
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def give(self, campaign: dict[str, Any], *, headers: dict[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        """Give to a campaign and return the answer's body."""
        answer = await self.hot.post(DONATIONS, json=gift(campaign, **changes), headers=headers or {})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def stored(self) -> dict[str, int]:
        """How many rows each table of a gift has."""
        async with self.running.database("donations") as database:
            return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}


def gift(campaign: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The body of a gift; a change to None leaves the field out."""
    body = {"campaign_id": campaign["id"], "donor_email": "donor1@example.org", "amount": "25.00"} | changes
    return {name: value for name, value in body.items() if value is not None}


def receipt(given: dict[str, Any]) -> dict[str, str]:
    """The headers of whoever holds the receipt of a gift."""
    return {"X-Receipt-Token": given["receipt_token"]}


@asynccontextmanager
async def giving_house(urls: ServerUrls) -> AsyncIterator[GivingHouse]:
    """Start both processes and somebody who signs tokens."""
    async with platform(urls, databases_of=["donations"]) as running, signing_in(running) as callers:
        hot = await running.serve(["donations"], wait=False)
        cold = await running.serve(["donations"], role="api", wait=False, CAREFORALL_HOT_PATHS="false")
        await hot.wait_ready()
        await cold.wait_ready()
        async with client_of(cold.url) as cold_client, client_of(hot.internal_url) as internal:
            yield GivingHouse(running=running, callers=callers, hot=running.client, cold=cold_client, internal=internal)
