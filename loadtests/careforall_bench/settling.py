"""Waits until nothing is under way any more: outboxes empty, consumers idle, every gift counted, receipted and audited.

Who waits asks again and again, on the cores that do the work: it keeps its connections, and counts only once all is quiet.
"""

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import nats
from msgspec import Struct
from nats.aio.client import Client

from careforall_bench import repository
from careforall_bench.instance import Platform, PlatformError

POLL_SECONDS = 0.25
DONATIONS, NOTIFICATIONS, AUDIT = "careforall_donations", "careforall_notifications", "careforall_audit"


class Settled(Struct, frozen=True, kw_only=True):
    """How many gifts each place knows as completed."""

    donations: int
    totals: int
    receipts: int
    audit: int

    def since(self, before: "Settled") -> "Settled":
        """What was added."""
        return Settled(
            donations=self.donations - before.donations,
            totals=self.totals - before.totals,
            receipts=self.receipts - before.receipts,
            audit=self.audit - before.audit,
        )

    @property
    def least(self) -> int:
        """Gifts that every place knows."""
        return min(self.donations, self.totals, self.receipts, self.audit)


def settled(platform: Platform, campaigns: Sequence[str]) -> Settled:
    """Count completed gifts in every place that has to know them."""
    return Settled(
        donations=_count(platform, DONATIONS, repository.SETTLED_DONATIONS),
        totals=platform.counted(campaigns),
        receipts=_count(platform, NOTIFICATIONS, repository.RECEIPTS),
        audit=_count(platform, AUDIT, repository.AUDIT_ROWS),
    )


def wait_for_lives(platform: Platform, campaigns: Sequence[str], *, before: Settled, number: int, deadline: float) -> Settled:
    """Wait until a number of gifts is known everywhere and nothing is under way."""
    until = time.monotonic() + deadline
    with _lag_of(platform) as lag:
        while True:
            under_way = lag()
            added = None if under_way else settled(platform, campaigns).since(before)
            if added is not None and added.least >= number:
                return added
            if time.monotonic() > until:
                raise PlatformError(f"after {deadline:.0f} s only {added} of {number} lives are settled, lag {under_way}")
            time.sleep(POLL_SECONDS)


def wait_until_idle(platform: Platform, *, deadline: float) -> float:
    """Wait until no message is under way; returns the seconds it took."""
    begun = time.monotonic()
    with _lag_of(platform) as lag:
        while (under_way := lag()) > 0:
            if time.monotonic() > begun + deadline:
                raise PlatformError(f"{under_way} messages are still under way after {deadline:.0f} s")
            time.sleep(POLL_SECONDS)
    return time.monotonic() - begun


@contextmanager
def _lag_of(platform: Platform) -> Iterator[Callable[[], int]]:
    """A way to count messages not yet published plus those not yet acknowledged by every consumer."""
    with repository.unpublished(repository.outboxes(platform.postgres)) as unpublished, asyncio.Runner() as runner:
        broker = runner.run(_connected(platform.nats))
        try:
            yield lambda: unpublished() or runner.run(_undelivered(broker))
        finally:
            runner.run(broker.close())


async def _connected(url: str) -> Client:
    return await nats.connect(url)


async def _undelivered(broker: Client) -> int:
    stream = broker.jetstream()
    consumers = [
        consumer for info in await stream.streams_info() for consumer in await stream.consumers_info(str(info.config.name))
    ]
    return sum((consumer.num_pending or 0) + (consumer.num_ack_pending or 0) for consumer in consumers)


def _count(platform: Platform, database: str, query: str) -> int:
    return repository.count(repository.on_database(platform.postgres, database), query)
