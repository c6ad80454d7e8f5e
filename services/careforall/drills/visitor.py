"""The platform as donors and staff use it over HTTP, with a look into its databases for what nobody is told.

visitor = Visitor(client, databases={"donations": dsn, ...}, webhook_secret=secret)
await visitor.employ(email, password)
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2

from careforall.drills import repository, repository_shop
from careforall.drills.errors import Unexpected
from careforall.drills.polling import eventually

_SIGNED_IN, _MADE = frozenset({200, 201}), frozenset({201})
_FOUND = frozenset({200})
_FRESH_S = 300.0


class Visitor:
    """Somebody who knows the way around one running platform.

    Args:
        client: Speaks to the public listener.
        databases: DSN of each service's database.
        webhook_secret: Signs events of the generic endpoint.
    """

    def __init__(self, client: httpx2.AsyncClient, *, databases: Mapping[str, str], webhook_secret: str) -> None:
        self.client = client
        self.databases = databases
        self.webhook_secret = webhook_secret
        self.admin: dict[str, str] = {}
        self.fresh_s = _FRESH_S
        """Seconds after which staff sign in anew."""
        self._employed: tuple[str, str] | None = None
        self._signed_in = 0.0

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection to a service's database, for looking and for mischief."""
        connection = await asyncpg.connect(self.databases[service])
        try:
            yield connection
        finally:
            await connection.close()

    async def sign_in(self, email: str, password: str) -> dict[str, str]:
        """Return the headers of somebody who signed in."""
        answer = await self.client.post("/api/v1/auth/login", json={"email": email, "password": password})
        return {"Authorization": f"Bearer {_expected(answer, _SIGNED_IN)['access_token']}"}

    async def employ(self, email: str, password: str) -> None:
        """Sign somebody of staff in, whose headers are `admin` from now on."""
        self.admin = await self.sign_in(email, password)
        self._employed, self._signed_in = (email, password), time.monotonic()

    async def staff(self) -> dict[str, str]:
        """Return the headers of staff, who sign in anew before their token ends, if anybody answers then."""
        if self._employed is not None and time.monotonic() - self._signed_in > self.fresh_s:
            with contextlib.suppress(httpx2.HTTPError, Unexpected):
                await self.employ(*self._employed)
        return self.admin

    async def campaign(self, **changes: Any) -> str:
        """Create a campaign that takes donations and return its id."""
        body = {"title": "Clean water", "story": "Wells.", "goal": "10000.00", "currency": "EUR", "status": "LIVE"} | changes
        answer = await self.client.post("/api/v1/campaigns", json=body, headers=await self.staff())
        return str(_expected(answer, _MADE)["id"])

    async def shelve(self, sku: str, units: int, *, name: str) -> None:
        """Offer a product of one SKU, count its stock, and wait until it can be ordered."""
        product = {"name": name, "base_price": "20.00", "currency": "EUR", "status": "ACTIVE", "variants": [{"sku": sku}]}
        _expected(await self.client.post("/api/v1/admin/products", json=product, headers=await self.staff()), _MADE)
        stock = {"sku": sku, "on_hand": units}
        _expected(await self.client.put("/api/v1/admin/inventory", json=stock, headers=await self.staff()), _FOUND)
        async with self.database("orders") as orders:
            await eventually(
                lambda: repository_shop.for_sale(orders, sku), within_s=60, every_s=0.1, what=f"{sku} among what can be ordered"
            )

    def gift_body(self, campaign: str, **changes: Any) -> dict[str, Any]:
        """The body of a gift."""
        return {"campaign_id": campaign, "donor_email": "donor1@example.org", "amount": "10.00", "currency": "EUR"} | changes

    async def totals(self, campaign: str) -> dict[str, Any]:
        """Return the exact totals of a campaign."""
        answer = await self.client.get(f"/api/v1/totals/campaigns/{campaign}", params={"realtime": "true"})
        return _expected(answer, _FOUND)

    async def totals_when(self, campaign: str, **wanted: Any) -> dict[str, Any]:
        """Wait until the totals say what is wanted."""

        async def look() -> dict[str, Any] | None:
            found = await self.totals(campaign)
            return found if all(found[name] == value for name, value in wanted.items()) else None

        return await eventually(look, within_s=20, what=f"totals {wanted}")

    async def under_way(self) -> int:
        """How many events wait for the broker."""
        waiting = 0
        for service in self.databases:
            async with self.database(service) as connection:
                waiting += await repository.unpublished(connection)
        return waiting

    async def settled(self) -> None:
        """Wait until nothing is on its way any more."""

        async def idle() -> bool:
            return await self.under_way() == 0

        await eventually(idle, within_s=30, every_s=0.1, what="empty outboxes")


def _expected(answer: httpx2.Response, statuses: frozenset[int]) -> dict[str, Any]:
    if answer.status_code not in statuses:
        raise Unexpected(f"{answer.request.method} {answer.request.url.path} was answered {answer.status_code}: {answer.text}")
    found: dict[str, Any] = answer.json()
    return found
