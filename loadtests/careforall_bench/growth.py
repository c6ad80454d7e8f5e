"""Flat cost: the time of one batch of the very code that serves requests, on a small and on a large database in turns.

Each size is a throw-away database with the service's own schema, filled by `repository_growth`; batches alternate between
the two, so that a slow minute of the machine hits both. What is told is the ratio of the middles, never a rate.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from statistics import median
from typing import Any
from uuid import UUID

import msgspec
from msgspec import Struct

from careforall.cli.registry import definition, with_settings
from careforall.donations.schemas import NewDonation
from careforall.donations.service import DonationsService
from careforall.kit import migrate
from careforall.kit.context import NOBODY
from careforall.kit.db import Database
from careforall.kit.idempotency import Call
from careforall.kit.ids import new_id
from careforall.kit.runtime import offline_parts
from careforall.payments.schemas import IntentOrder
from careforall.payments.service import PaymentsService
from careforall.totals.domain import Gift
from careforall.totals.service import TotalsService
from careforall_bench import repository, repository_growth
from careforall_bench.report import Machine, now, this_machine

BATCH = 128
WARM_UP = 10
SMALL, LARGE, FULL = 10_000, 1_000_000, 10_000_000
MOST_RATIO = 1.2
BATCHES, QUICK_BATCHES = 200, 40
Batch = Callable[[], Awaitable[float]]


class Growth(Struct, frozen=True, kw_only=True):
    """What one kind of event costs at two sizes; milliseconds a batch."""

    name: str
    small: int
    large: int
    small_ms: float
    large_ms: float
    ratio: float
    batches: int

    @property
    def flat(self) -> bool:
        """Whether the cost stays within what noise explains."""
        return self.ratio <= MOST_RATIO


async def measure(name: str, servers: Mapping[str, str], *, large: int, batches: int, tell: Callable[[str], None]) -> Growth:
    """Measure one kind of event.

    Args:
        name: A key of `KINDS`.
        servers: URLs of PostgreSQL (`postgres`), NATS (`nats`) and Valkey (`redis`).
        large: Rows of the large database.
        batches: How many batches at each size.
        tell: Whom to tell how far it is.
    """
    async with AsyncExitStack() as stack:
        pair = [await stack.enter_async_context(_filled(name, servers, rows=rows, tell=tell)) for rows in (SMALL, large)]
        tell(f"{name}: {batches} batches of {BATCH} at each size, in turns")
        times = await _in_turns(pair, batches)
    small_ms, large_ms = (1000 * median(found) for found in times)
    return Growth(
        name=name,
        small=SMALL,
        large=large,
        small_ms=small_ms,
        large_ms=large_ms,
        ratio=large_ms / small_ms,
        batches=batches,
    )


async def _in_turns(pair: Sequence[Batch], batches: int) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(WARM_UP + batches):
        for found, batch in zip(times, pair, strict=True):
            seconds = await batch()
            if number >= WARM_UP:
                found.append(seconds)
    return times


@asynccontextmanager
async def _filled(name: str, servers: Mapping[str, str], *, rows: int, tell: Callable[[str], None]) -> AsyncIterator[Batch]:
    """A service on a database that holds so many rows, and one batch of its work."""
    service, make = KINDS[name]
    database = f"bench_growth_{service}_{'small' if rows == SMALL else 'large'}"
    dsn = await asyncio.to_thread(repository.recreate_database, servers["postgres"], database)
    try:
        found = definition(service)
        await migrate.migrate(dsn, migrate.load(found.package))
        tell(f"{name}: filling {rows:,} rows")
        await repository_growth.fill(dsn, service, rows)
        variables = _variables(servers, service, dsn)
        async with offline_parts(*with_settings([found], variables)[0]) as (parts, opened):
            yield await make(parts.service, opened, variables)
    finally:
        await asyncio.to_thread(repository.drop_database, servers["postgres"], database)


def _variables(servers: Mapping[str, str], service: str, dsn: str) -> dict[str, str]:
    return {
        "CAREFORALL_POSTGRES_URL": servers["postgres"],
        "CAREFORALL_NATS_URL": servers["nats"],
        "CAREFORALL_REDIS_URL": servers["redis"],
        "CAREFORALL_ENVIRONMENT": "development",
        "CAREFORALL_INSTANCE": f"growth-{secrets.token_hex(4)}",
        "CAREFORALL_SECRET_KEY": secrets.token_hex(32),
        "CAREFORALL_WEBHOOK_SECRETS": secrets.token_hex(32),
        f"CAREFORALL_{service.upper()}_DATABASE_URL": dsn,
    }


async def _donations(service: Any, opened: Database, _: Mapping[str, str]) -> Batch:
    assert isinstance(service, DonationsService)
    async with opened.connection() as connection:
        campaign = await repository_growth.campaign(connection)

    async def one() -> None:
        gift = NewDonation(campaign_id=campaign, donor_email=f"donor{secrets.randbelow(1000)}@example.org", amount=Decimal(25))
        key = str(new_id())
        call = Call(scope="growth", key=key, fingerprint=hashlib.sha256(key.encode()).digest())
        answer = await service.giving.give(gift, giver=None, call=call, cause=NOBODY)
        assert answer.status == 201, answer  # noqa: PLR2004 - HTTP

    return _timed(one)


async def _webhooks(service: Any, _: Database, variables: Mapping[str, str]) -> Batch:
    assert isinstance(service, PaymentsService)
    secret = variables["CAREFORALL_WEBHOOK_SECRETS"].encode()

    async def signed() -> tuple[bytes, dict[bytes, bytes]]:
        order = IntentOrder(subject_type="DONATION", subject_id=new_id(), amount=Decimal(25), currency="EUR")
        intent = await service.create_intent(order)
        body = msgspec.json.encode({"event_id": f"evt_{new_id()}", "payment_intent_id": str(intent.id), "status": "SUCCESS"})
        return body, {b"x-signature": b"sha256=" + hmac.digest(secret, body, "sha256").hex().encode()}

    async def batch() -> float:
        told = await asyncio.gather(*(signed() for _ in range(BATCH)))
        begun = time.perf_counter()
        answers = await asyncio.gather(*(service.webhooks.receive("generic", headers, body) for body, headers in told))
        assert all(answer.status == 200 for answer in answers)  # noqa: PLR2004 - HTTP
        return time.perf_counter() - begun

    return batch


async def _totals(service: Any, opened: Database, _: Mapping[str, str]) -> Batch:
    assert isinstance(service, TotalsService)
    async with opened.connection() as connection:
        campaign = await repository_growth.counted_campaign(connection)

    async def batch() -> float:
        gifts = [_counted(campaign) for _ in range(BATCH)]
        begun = time.perf_counter()
        await opened.run(lambda connection: service.fold(connection, gifts))
        return time.perf_counter() - begun

    return batch


def _counted(campaign: UUID) -> Gift:
    return Gift(
        donation_id=new_id(),
        campaign_id=campaign,
        donor_key=hashlib.md5(secrets.token_bytes(2), usedforsecurity=False).hexdigest(),
        currency="EUR",
        amount=Decimal(25),
        refunded_amount=Decimal(0),
        anonymous=False,
        version=2,
        completed_at=now(),
    )


def _timed(one: Callable[[], Awaitable[None]]) -> Batch:
    async def batch() -> float:
        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(BATCH)))
        return time.perf_counter() - begun

    return batch


KINDS: Mapping[str, tuple[str, Callable[[Any, Database, Mapping[str, str]], Awaitable[Batch]]]] = {
    "donations": ("donations", _donations),
    "webhooks": ("payments", _webhooks),
    "totals": ("totals", _totals),
}
"""What is measured: the service, and how one batch of its work is made."""


class Found(Struct, frozen=True, kw_only=True):
    """A whole run."""

    started_at: datetime
    machine: Machine
    kinds: list[Growth]


def run(servers: Mapping[str, str], *, full: bool, quick: bool, tell: Callable[[str], None]) -> Found:
    """Measure every kind of event; the largest databases only where they are asked for."""
    started = now()
    batches = QUICK_BATCHES if quick else BATCHES
    larges = [LARGE, FULL] if full else [LARGE]
    sizes = {"webhooks": [LARGE], "donations": larges, "totals": larges}
    kinds = [
        asyncio.run(measure(name, servers, large=large, batches=batches, tell=tell))
        for name, wanted in sizes.items()
        for large in wanted
    ]
    return Found(started_at=started, machine=this_machine(repository.server_version(servers["postgres"])), kinds=kinds)


def line(one: Growth) -> str:
    """Tell of one kind."""
    return (
        f"{one.name:<12}{one.small:>12,} rows {one.small_ms:7.1f} ms a batch, {one.large:>12,} rows {one.large_ms:7.1f} ms: "
        f"x {one.ratio:.2f}{'' if one.flat else '  grows'}"
    )


def store(found: Found, *files: Path) -> None:
    """Write a run to files."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
