"""People who give, gateways that tell and visitors who look, at a bounded rate, with a book of what each was answered.

load = Load(journey, campaign)
await load.prepare(100)                      # gifts whose intents are known, for webhooks to be about
async with load.running(per_second=30):
    ...                                      # break something
await load.pay_everything()
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx2
from msgspec import Struct

from careforall.kit.ids import new_id
from careforall_testing.journey import Journey
from careforall_testing.polling import eventually
from careforall_testing.signing import GENERIC, sign_generic

Request = Callable[..., Awaitable[httpx2.Response]]
"""Takes a request: a client of one process, or a balancer over several."""

DONATION, WEBHOOK, READ = "donation", "webhook", "read"
AMOUNT = Decimal("10.00")
PATIENCE_S = 60.0
_KNOWN_INTENTS = "SELECT count(*) FROM payment_intents WHERE id = ANY($1::uuid[])"


class Answered(Struct, frozen=True, kw_only=True):
    """What one request was answered; status 0 where nobody answered at all."""

    kind: str
    status: int
    seconds: float
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        """Whether the request was accepted."""
        return 200 <= self.status < 300

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found


class Load:
    """A campaign under load; `answers` holds every answer, `gifts` every acknowledged gift, `paid` those told as paid."""

    def __init__(self, journey: Journey, campaign: str, *, request: Request | None = None) -> None:
        self.journey = journey
        self._request: Request = request or journey.client.request
        self.campaign = campaign
        self.answers: list[Answered] = []
        self.gifts: dict[str, dict[str, Any]] = {}
        self.paid: set[str] = set()
        self._secret = journey.platform.environment["CAREFORALL_WEBHOOK_SECRETS"].partition(",")[0]
        self._payable: list[dict[str, Any]] = []
        self._tasks: set[asyncio.Task[Any]] = set()

    async def prepare(self, count: int) -> None:
        """Give `count` gifts and wait until payments knows their intents."""
        await asyncio.gather(*(self.give() for _ in range(count)))
        assert len(self.gifts) >= count, self.failures()
        self._payable = list(self.gifts.values())
        await self.intents_known(self._payable)

    async def intents_known(self, gifts: Iterable[Mapping[str, Any]]) -> None:
        """Wait until payments has an intent for every gift."""
        wanted = [UUID(gift["payment_intent"]["id"]) for gift in gifts]
        async with self.journey.platform.database("payments") as payments:

            async def known() -> bool:
                return bool(await payments.fetchval(_KNOWN_INTENTS, wanted) == len(wanted))

            await eventually(known, within_s=PATIENCE_S, every_s=0.1, what="intents of all gifts")

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
        body = self.journey.gift_body(self.campaign, amount=str(AMOUNT), donor_email=f"donor{len(self.answers) % 50}@example.org")
        headers = {"Idempotency-Key": key or str(new_id()), "Content-Type": "application/json"}
        answered = await self.ask(DONATION, "POST", "/api/v1/donations", content=json.dumps(body).encode(), headers=headers)
        if answered.good:
            gift = answered.document
            self.gifts[gift["id"]] = gift
        return answered

    async def tell(self, gift: Mapping[str, Any]) -> Answered:
        """Deliver the webhook that a gift was paid; the same event whenever it is told again."""
        told = {"event_id": f"paid-{gift['id']}", "payment_intent_id": gift["payment_intent"]["id"], "status": "SUCCESS"}
        body = json.dumps(told).encode()
        answered = await self.ask(WEBHOOK, "POST", GENERIC, content=body, headers=sign_generic(self._secret, body))
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

        await eventually(taken, within_s=PATIENCE_S, every_s=0.2, what="a webhook that is taken")

    async def ask(self, kind: str, method: str, path: str, **request: Any) -> Answered:
        """Send one request and write down its answer."""
        started = time.monotonic()
        try:
            answer = await self._request(method, path, **request)
        except httpx2.HTTPError as error:
            status, headers, body = 0, {}, json.dumps({"error": repr(error)}).encode()
        else:
            status, headers, body = answer.status_code, dict(answer.headers), answer.content
        answered = Answered(kind=kind, status=status, seconds=time.monotonic() - started, headers=headers, body=body)
        self.answers.append(answered)
        return answered

    def of(self, kind: str) -> list[Answered]:
        """The answers of one kind, in order."""
        return [answered for answered in self.answers if answered.kind == kind]

    def failures(self) -> list[tuple[str, int, bytes]]:
        """What was not accepted, told shortly."""
        return [(answered.kind, answered.status, answered.body[:300]) for answered in self.answers if not answered.good][:5]

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
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), 0.1)

    async def _whole_gift(self, *, refund: bool) -> None:
        key = str(new_id())

        async def given() -> dict[str, Any] | None:
            answered = await self._load.give(key)
            return answered.document if answered.good else None

        gift = await eventually(given, within_s=PATIENCE_S, every_s=0.1, what="a gift that is taken")
        await self._load.until_taken(gift)
        if refund:
            await self._refund(gift)

    async def _refund(self, gift: Mapping[str, Any]) -> None:
        headers = {**self._load.journey.admin, "Idempotency-Key": f"refund-{gift['id']}"}
        path = f"/api/v1/payments/{gift['payment_intent']['id']}/refund"

        async def taken() -> bool:
            answered = await self._load.ask(
                "refund", "POST", path, json={"amount": "1.00", "reason": "asked for"}, headers=headers
            )
            return answered.good

        await eventually(taken, within_s=PATIENCE_S, every_s=0.2, what="a refund that is taken")
        self.refunded[gift["id"]] = Decimal("1.00")
