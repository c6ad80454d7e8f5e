"""The promise: a thousand customers changed at once on a bad day of the company are there once each, in their last version."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections import defaultdict
from typing import Any
from uuid import UUID

import pytest

from careforall.sync.domain import Customer
from careforall.sync.errors import CustomerNotFound
from careforall.sync.gateways.stripe import NOTE_ID, NOTE_VERSION
from careforall_testing.mirroring import Mirror, broken
from careforall_testing.weather import Weather

CUSTOMERS = 1000
AT_ONCE = 6

pytestmark = pytest.mark.timeout(420)


async def test_a_thousand_customers_changed_at_once_end_there_once_in_their_last_version(mirror: Mirror) -> None:
    seed = random.SystemRandom().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    dice = random.Random(seed)
    mirror.fake.weather, mirror.fake.late_s = Weather(seed), 1.0
    started = time.monotonic()
    places = asyncio.Semaphore(AT_ONCE)

    async def live(number: int, changes: int, ends: bool) -> UUID:
        async with places:
            made = await mirror.create(f"customer{number}@example.org", name="0", metadata={"n": "0", "first": "1"})
        await asyncio.gather(*(_changed(mirror, places, made, change) for change in range(1, changes + 1)))
        if ends:
            async with places:
                await mirror.service.delete(made.id, None)
        return made.id

    changing = asyncio.gather(*(live(n, dice.randint(1, 4), dice.random() < 0.05) for n in range(CUSTOMERS)))
    async with mirror.worker() as third:
        while not changing.done():
            await third.run()
            await asyncio.sleep(0.01)
    ids = await changing
    await mirror.carried()
    sys.stdout.write(f"{len(mirror.fake.calls)} calls in {time.monotonic() - started:.1f} s: {mirror.fake.weather.seen}\n")
    assert min(mirror.fake.weather.seen.values()) > 10, "the weather was too good"
    await _holds(mirror, ids)


async def _changed(mirror: Mirror, places: asyncio.Semaphore, made: Customer, change: int) -> None:
    async with places:
        await mirror.change(made, name=str(change), metadata={"n": str(change)})


async def _holds(mirror: Mirror, ids: list[UUID]) -> None:
    """Every customer has one image in the last version, whoever is deleted none, and no version came after a newer one."""
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for one in mirror.fake.books.customers.present:
        images[one["metadata"][NOTE_ID]].append(one)
    for customer_id in ids:
        found = images.pop(str(customer_id), [])
        try:
            customer = await mirror.service.customer(customer_id)
        except CustomerNotFound:
            assert found == []
            continue
        (image,) = found
        noted = {NOTE_ID: str(customer_id), NOTE_VERSION: str(customer.version)}
        assert (image["email"], image["name"], image["metadata"]) == (
            customer.email,
            customer.name,
            {**customer.metadata, **noted},
        )
        assert customer.external_ids == {"stripe": image["id"]}
    assert images == {}, "an image of nobody"
    assert len(mirror.fake.books.customers.all) <= len(ids), "somebody was made twice"
    _in_order(mirror)
    assert await broken(mirror) == {}


def _in_order(mirror: Mirror) -> None:
    newest: dict[str, int] = {}
    for event in mirror.fake.books.events:
        metadata = event["data"]["object"]["metadata"]
        version = int(metadata[NOTE_VERSION])
        assert version >= newest.get(metadata[NOTE_ID], 0), "an older version after a newer one"
        newest[metadata[NOTE_ID]] = version
