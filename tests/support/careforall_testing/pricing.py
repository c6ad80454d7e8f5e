"""What tests of pricing share: the service in this process or as processes, goods to price, coupons, and steps of checkouts."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import msgspec
from msgspec import Struct

from careforall.audit.verification.coupons import COUPONS
from careforall.contracts.catalog import ProductSnapshot, Variant
from careforall.contracts.inventory import StockChanged
from careforall.contracts.pricing import Lock, Quote, QuoteAsked, QuotedLine, Settle, Settled
from careforall.kit import json
from careforall.kit.bus import BrokerUnavailable
from careforall.kit.db import Database, PoolSettings
from careforall.kit.envelope import Event
from careforall.kit.http.limits import Limiter
from careforall.kit.ids import new_id
from careforall.pricing.schemas import NewCoupon
from careforall.pricing.service import PricingService
from careforall.pricing.settings import PricingSettings
from careforall_testing.announcing import publish
from careforall_testing.callers import Callers
from careforall_testing.databases import connection
from careforall_testing.platform import Platform, fresh_database
from careforall_testing.servers import ServerUrls

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


class PricingHouse(Struct, frozen=True, kw_only=True):
    """The pricing service as processes."""

    running: Platform
    callers: Callers
    second: httpx2.AsyncClient

    @property
    def client(self) -> httpx2.AsyncClient:
        """A client of the first process."""
        return self.running.client

    async def publish(self, event: Event, aggregate_id: UUID, version: int) -> None:
        """Publish an event as its owner does."""
        await publish(self.running.environment["CAREFORALL_NATS_URL"], event, aggregate_id, version)

    async def sell(self, sku: str, price: str = "10.00", **changes: Any) -> UUID:
        """Publish a product with one variant and return its id."""
        found = product(sku, price, **changes)
        await self.publish(found, found.product_id, 1)
        return found.product_id

    async def stock(self, sku: str, available: int, version: int) -> None:
        """Publish how much of a SKU is available."""
        event = StockChanged(sku=sku, on_hand=available, reserved=0, available=available)
        await self.publish(event, new_id(), version)


class Counter(Struct, frozen=True, kw_only=True):
    """The service in this process with its database."""

    service: PricingService
    database: Database
    url: str

    async def sell(self, sku: str, price: str = "10.00") -> None:
        """Know a product with one variant."""
        one = product(sku, price)
        await self.database.run(lambda opened: self.service.projection.products(opened, [(one, 1)]))

    async def coupon(self, code: str, **changes: Any) -> UUID:
        """Make a coupon of a tenth."""
        new = NewCoupon(code=code, percent=Decimal(10), **changes)
        made = await self.database.run(lambda opened: self.service.coupons.create(opened, new))
        return made.id

    async def lock(self, asked: Lock) -> Quote:
        """Lock a price."""
        return msgspec.json.decode(await self.service.checkouts.lock(json.encode(asked)), type=Quote)

    async def quote(self, asked: QuoteAsked) -> Quote:
        """Ask for a price as carts and checkouts do."""
        return msgspec.json.decode(await self.service.answer_quote(json.encode(asked)), type=Quote)

    async def redeem(self, holder: UUID, step: UUID | None = None) -> Settled:
        """Use what a holder holds."""
        asked = Settle(step_id=step or new_id(), holder_id=holder)
        return msgspec.json.decode(await self.service.checkouts.redeem(json.encode(asked)), type=Settled)

    async def release(self, holder: UUID, step: UUID | None = None) -> Settled:
        """Give back what a holder holds."""
        asked = Settle(step_id=step or new_id(), holder_id=holder)
        return msgspec.json.decode(await self.service.checkouts.release(json.encode(asked)), type=Settled)

    async def run_out(self, holder: UUID) -> None:
        """Let the time of a holder's coupons be over."""
        await self.execute("UPDATE coupon_holds SET expires_at = $2 WHERE holder_id = $1", holder, LONG_AGO)

    async def counts(self, coupon_id: UUID) -> tuple[int, int]:
        """How often a coupon is used and held."""
        async with connection(self.url) as opened:
            row = await opened.fetchrow("SELECT used, held FROM coupons WHERE id = $1", coupon_id)
            assert row is not None
            return row["used"], row["held"]

    async def violations(self) -> list[str]:
        """What `verify` would find wrong with the coupons."""
        async with connection(self.url) as opened:
            return await violations(opened)

    async def execute(self, sql: str, *args: object) -> None:
        """Look or make mischief behind the service's back."""
        async with connection(self.url) as opened:
            await opened.execute(sql, *args)


async def violations(opened: asyncpg.Connection) -> list[str]:
    """What `verify` would find wrong with the coupons of a database."""
    return [f"{one.name}: {row['detail']}" for one in COUPONS for row in await opened.fetch(one.sql, LONG_AGO)]


def lock(*lines: tuple[str, int], holder: UUID | None = None, step: UUID | None = None, **changes: Any) -> Lock:
    """A step that locks a price."""
    seconds = changes.pop("seconds", 900)
    asked = QuoteAsked(lines=[QuotedLine(sku=sku, quantity=quantity) for sku, quantity in lines], **changes)
    return Lock(step_id=step or new_id(), holder_id=holder or new_id(), asked=asked, seconds=seconds)


def product(sku: str, price: str = "10.00", **changes: Any) -> ProductSnapshot:
    """A product with one variant."""
    fields: dict[str, Any] = {
        "product_id": new_id(),
        "slug": sku.lower(),
        "name": sku.title(),
        "status": "ACTIVE",
        "base_price": Decimal(price),
        "currency": "EUR",
        "variants": (Variant(variant_id=new_id(), sku=sku),),
        "created_at": datetime.now(UTC) - timedelta(days=1),
    }
    return ProductSnapshot(**fields | changes)


@asynccontextmanager
async def opened_counter(urls: ServerUrls, *, seed: str, **options: Any) -> AsyncIterator[Counter]:
    """The service in this process, on a database of its own."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(urls.postgres, "pricing"))
        settings = PricingSettings(postgres_url=urls.postgres, secret_key=secrets.token_hex(32), **options)
        database = Database(url, name="pricing", settings=PoolSettings(max_size=4))
        await database.open()
        stack.push_async_callback(database.close)
        limiter = Limiter(urls.redis, prefix=f"pricing-{seed}", deadline=30.0)
        stack.push_async_callback(limiter.close)
        service = PricingService(database, settings, limiter, _away)
        stack.push_async_callback(service.checkouts.drain)
        yield Counter(service=service, database=database, url=url)


async def _away(_: str, __: bytes) -> bytes:
    raise BrokerUnavailable
