"""People who give, gateways that tell and visitors who look, at a bounded rate, with a book of what each was answered.

load = Load(visitor, campaign)
await load.prepare(100)                      # gifts whose intents are known, for webhooks to be about
async with load.running(per_second=30):
    ...                                      # break something
await load.pay_everything()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

from careforall.drills import repository
from careforall.drills.asking import Answered, Asker, Request
from careforall.drills.errors import Unexpected
from careforall.drills.polling import eventually
from careforall.drills.signing import GENERIC, sign_generic
from careforall.drills.visitor import Visitor
from careforall.kit.ids import new_id

DONATION, WEBHOOK, READ = "donation", "webhook", "read"
AMOUNT, REFUND = Decimal("10.00"), Decimal("1.00")
_NOTHING_LEFT = frozenset({"refund_refused", "refund_exceeds_captured"})
"""Why a refund is never going to be taken: the payer's bank holds the money back."""
PATIENCE_S = 60.0


class Load(Asker):
    """A campaign under load; `keys` are those of all gifts begun, `gifts` those acknowledged, `paid` those told as paid."""

    def __init__(
        self, visitor: Visitor, campaign: str, *, request: Request | None = None, patience_s: float = PATIENCE_S
    ) -> None:
        super().__init__(request or visitor.client.request)
        self.visitor = visitor
        self.patience_s = patience_s
        self.campaign = campaign
        self.gifts: dict[str, dict[str, Any]] = {}
        self.paid: set[str] = set()
        self.keys: set[str] = set()
        self._payable: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def prepare(self, count: int) -> None:
        """Give `count` gifts and wait until payments knows their intents."""
        await asyncio.gather(*(self.give() for _ in range(count)))
        if len(self.gifts) < count:
            raise Unexpected(f"gifts were refused before anything was broken: {self.failures()}")
        self._payable = list(self.gifts.values())
        await self.intents_known(self._payable)

    async def intents_known(self, gifts: Iterable[Mapping[str, Any]]) -> None:
        """Wait until payments has an intent for every gift."""
        wanted = [gift["payment_intent"]["id"] for gift in gifts]
        async with self.visitor.database("payments") as payments:

            async def known() -> bool:
                return await repository.known_intents(payments, wanted) == len(wanted)

            await eventually(known, within_s=self.patience_s, every_s=0.1, what="intents of all gifts")

    @asynccontextmanager
    async def running(self, *, per_second: float) -> AsyncIterator[None]:
        """Give, tell and read `per_second` times a second each, without waiting for answers, while the context is open."""
        ticking = asyncio.create_task(self._tick(1 / per_second))
        try:
            yield
        finally:
            ticking.cancel()
            await asyncio.gather(ticking, return_exceptions=True)
            await asyncio.gather(*self._tasks)

    async def give(self, key: str = "") -> Answered:
        """Give once; the gift is remembered if it was acknowledged."""
        body = self.visitor.gift_body(self.campaign, amount=str(AMOUNT), donor_email=f"donor{len(self.answers) % 50}@example.org")
        self.keys.add(key := key or str(new_id()))
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        answered = await self.ask(DONATION, "POST", "/api/v1/donations", content=json.dumps(body).encode(), headers=headers)
        if answered.good:
            gift = answered.document
            self.gifts[gift["id"]] = gift
        return answered

    async def give_until_taken(self) -> dict[str, Any]:
        """Give once, again and again under one key until the gift is taken, and return it."""
        key = str(new_id())

        async def given() -> dict[str, Any] | None:
            answered = await self.give(key)
            return answered.document if answered.good else None

        return await eventually(given, within_s=self.patience_s, every_s=0.1, what="a gift that is taken")

    async def tell(self, gift: Mapping[str, Any]) -> Answered:
        """Deliver the webhook that a gift was paid; the same event whenever it is told again."""
        told = {"event_id": f"paid-{gift['id']}", "payment_intent_id": gift["payment_intent"]["id"], "status": "SUCCESS"}
        body = json.dumps(told).encode()
        answered = await self.ask(WEBHOOK, "POST", GENERIC, content=body, headers=sign_generic(self.visitor.webhook_secret, body))
        if answered.good:
            self.paid.add(gift["id"])
        return answered

    async def look(self) -> Answered:
        """Read the totals as a visitor does."""
        return await self.ask(READ, "GET", f"/api/v1/totals/campaigns/{self.campaign}")

    async def pay_everything(self) -> None:
        """Tell of every gift not yet told, again and again until it was taken, as gateways do."""
        for gift in [gift for gift in self.gifts.values() if gift["id"] not in self.paid]:
            await self.until_taken(gift)

    async def until_taken(self, gift: Mapping[str, Any]) -> None:
        """Deliver a webhook until it is taken."""

        async def taken() -> bool:
            return (await self.tell(gift)).good

        await eventually(taken, within_s=self.patience_s, every_s=0.2, what="a webhook that is taken")

    async def refund(self, intent: str) -> bool:
        """Order a part of a payment back as staff does, until it is taken; false where no money is left to go back."""
        path = f"/api/v1/payments/{intent}/refund"

        async def decided() -> Answered | None:
            headers = {**await self.visitor.staff(), "Idempotency-Key": f"refund-{intent}"}
            order = {"amount": str(REFUND), "reason": "asked for"}
            answered = await self.ask("refund", "POST", path, json=order, headers=headers)
            return answered if answered.good or answered.code in _NOTHING_LEFT else None

        return (await eventually(decided, within_s=self.patience_s, every_s=0.2, what="a refund that is taken")).good

    async def _tick(self, pause: float) -> None:
        while True:
            self._start(self.give())
            self._start(self.look())
            if self._payable:
                self._start(self.tell(self._payable.pop()))
            await asyncio.sleep(pause)

    def _start(self, work: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def pause(stop: asyncio.Event, seconds: float) -> None:
    """Wait a while, or until it is time to stop."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()


class Persistent:
    """Givers who do not give up: each repeats under the same key until the gift, its webhook and its refund were taken.

    Args:
        load: Where gifts and answers are written down.
        people: How many give at the same time.
        refund_every: Every how manieth gift is refunded in part.
    """

    def __init__(self, load: Load, *, people: int, refund_every: int = 3) -> None:
        self._load = load
        self._people = people
        self._refund_every = refund_every
        self.refunded: dict[str, Decimal] = {}

    @asynccontextmanager
    async def giving(self) -> AsyncIterator[None]:
        """Give without end while the context is open; what was begun is finished before it closes."""
        stop = asyncio.Event()
        people = [asyncio.create_task(self._person(stop)) for _ in range(self._people)]
        try:
            yield
        finally:
            stop.set()
            finished = await asyncio.gather(*people, return_exceptions=True)
        for error in finished:
            if isinstance(error, BaseException):
                raise error

    async def _person(self, stop: asyncio.Event) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            await self._whole_gift(refund=number % self._refund_every == 0)
            await pause(stop, 0.1)

    async def _whole_gift(self, *, refund: bool) -> None:
        gift = await self._load.give_until_taken()
        await self._load.until_taken(gift)
        if refund and await self._load.refund(gift["payment_intent"]["id"]):
            self.refunded[gift["id"]] = REFUND
