"""Steps of a checkout that move money, asked for by orders (docs/decisions/0012): authorise, capture, cancel, refund.

A step is noted before a gateway is called, under the asker's id, which is also the key at the gateway; its answer is kept once it
is known for good, for as long as those of other keys. A step that is asked for again while it runs waits for the same answer.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from uuid import UUID

import msgspec

from careforall.contracts.payments import Authorize, IntentStep, PaymentStatus, PaymentStep, RefundStep
from careforall.kit import context, json
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Problem, Unavailable
from careforall.kit.idempotency import Call, fingerprint
from careforall.kit.retention import IDEMPOTENCY
from careforall.payments import repository, repository_steps
from careforall.payments.domain import Intent
from careforall.payments.errors import GatewayAway, IllegalTransition, NotRefundable, RefundRefused, RefundTooLarge
from careforall.payments.gateways.base import PAGE_ONLY, GatewayDeclined, GatewayNotAsked, GatewayRefused, GatewayUnknown
from careforall.payments.paying import Paying
from careforall.payments.records import Attempt, NewIntent
from careforall.payments.refunding import ACCEPTED, Refunding
from careforall.payments.schemas import RefundOrder

Create = Callable[[Connection, Sequence[NewIntent]], Awaitable[None]]
"""Makes intents in the given transaction."""
_BITE = 1000
Work = Callable[[], Awaitable[PaymentStep]]

_STATES: dict[PaymentStatus, PaymentStep] = {
    "AUTHORIZED": PaymentStep(outcome="AUTHORIZED"),
    "CAPTURED": PaymentStep(outcome="CAPTURED"),
    "FAILED": PaymentStep(outcome="ENDED"),
    "REFUNDED": PaymentStep(outcome="ENDED"),
}
_OPEN = frozenset({"PENDING", "UNKNOWN_INTENT"})
"""Outcomes that are no end: asked for again, the step looks again."""
_UNKNOWN = PaymentStep(outcome="UNKNOWN_INTENT")


class Steps:
    """Does the steps that move the money of orders."""

    def __init__(self, database: Database, paying: Paying, refunding: Refunding, create: Create) -> None:
        self._database = database
        self._paying = paying
        self._refunding = refunding
        self._create = create
        self._running: dict[UUID, asyncio.Future[bytes]] = {}

    async def authorize(self, payload: bytes) -> bytes:
        """Hold the money of an order by a token; its intent is made here where its event has not come yet."""
        asked = msgspec.json.decode(payload, type=Authorize)
        return await self._step(asked.step_id, asked.intent_id, "AUTHORIZE", partial(self._authorize, asked), new=_new(asked))

    async def capture(self, payload: bytes) -> bytes:
        """Take the money that is held."""
        asked = msgspec.json.decode(payload, type=IntentStep)
        return await self._step(asked.step_id, asked.intent_id, "CAPTURE", partial(self._capture, asked.intent_id))

    async def cancel(self, payload: bytes) -> bytes:
        """End an intent at its gateway, releasing what is held."""
        asked = msgspec.json.decode(payload, type=IntentStep)
        return await self._step(asked.step_id, asked.intent_id, "CANCEL", partial(self._cancel, asked.intent_id))

    async def refund(self, payload: bytes) -> bytes:
        """Send money back."""
        asked = msgspec.json.decode(payload, type=RefundStep)
        return await self._step(asked.step_id, asked.intent_id, "REFUND", partial(self._refund, asked))

    async def forget(self) -> None:
        """Forget old answers, in small bites."""
        deleted = _BITE
        while deleted == _BITE:
            deleted = await self._database.run(lambda connection: repository_steps.forget(connection, IDEMPOTENCY, _BITE))

    async def _step(self, step_id: UUID, intent_id: UUID, what: str, work: Work, *, new: NewIntent | None = None) -> bytes:
        """Do a step once: repeats of one that runs here wait for it, others meet its row."""
        running = self._running.get(step_id)
        if running is None:
            running = self._running[step_id] = asyncio.ensure_future(self._once(step_id, intent_id, what, work, new))
            running.add_done_callback(lambda _: self._running.pop(step_id, None))
        return await asyncio.shield(running)

    async def _once(self, step_id: UUID, intent_id: UUID, what: str, work: Work, new: NewIntent | None) -> bytes:
        async def begin(connection: Connection) -> bytes | None:
            answered = await repository_steps.claim(connection, step_id, intent_id, what)
            if answered is None and new is not None and await repository.intent(connection, intent_id) is None:
                await self._create(connection, [new])
            return answered

        known = await self._database.run(begin)
        if known is not None:
            return known
        told = await work()
        body = json.encode(told)
        if told.outcome in _OPEN:
            return body
        return await self._database.run(lambda connection: repository_steps.answer(connection, step_id, body))

    async def _authorize(self, asked: Authorize) -> PaymentStep:
        intent = await self._read(asked.intent_id)
        if intent is None:
            return _UNKNOWN
        if intent.status != "INITIATED":
            return _STATES[intent.status]
        if (intent.amount, intent.currency) != (asked.amount, asked.currency):
            return PaymentStep(outcome="REFUSED", code="subject_mismatch", reason="the intent asks for another amount")
        attempt = await self._paying.open(asked.intent_id)
        return await (self._no_attempt(asked.intent_id) if attempt is None else self._pay(asked, attempt))

    async def _pay(self, asked: Authorize, attempt: Attempt) -> PaymentStep:
        page = attempt.redirect_url or f"/pay/{asked.intent_id}"
        if not attempt.gateway_object:
            return PaymentStep(outcome="PENDING", redirect_url=page)
        try:
            paid = await self._paying.pay_by_token(attempt, asked.payment_token, key=str(asked.step_id))
        except GatewayDeclined as error:
            return PaymentStep(outcome="DECLINED", code=error.code, reason=str(error)[:200])
        except GatewayUnknown:
            return PaymentStep(outcome="PENDING", redirect_url=f"/pay/{asked.intent_id}")
        except GatewayRefused as error:
            return await self._not_paid(asked.intent_id, error, page)
        return _STATES.get(paid.status, PaymentStep(outcome="PENDING", redirect_url=page))

    async def _no_attempt(self, intent_id: UUID) -> PaymentStep:
        """Nothing can be paid: its time is over, or the gateway does not make anything payable."""
        paper = await self._paying.paper(intent_id)
        if paper is None:
            return _UNKNOWN
        if paper.intent.status != "INITIATED":
            return _STATES[paper.intent.status]
        if paper.expired:
            return await self._cancel(intent_id)
        last = paper.attempt
        if last is not None and last.status == "FAILED":
            return PaymentStep(outcome="DECLINED", code=last.code or "gateway_refused", reason=last.reason)
        return PaymentStep(outcome="PENDING", redirect_url=f"/pay/{intent_id}")

    async def _not_paid(self, intent_id: UUID, error: GatewayRefused, redirect_url: str) -> PaymentStep:
        """The gateway did nothing: it wants the payer on its page, was not asked, or the object went on without us."""
        if error.code == PAGE_ONLY or isinstance(error, GatewayNotAsked):
            return PaymentStep(outcome="PENDING", redirect_url=redirect_url, code=error.code)
        intent = await self._paying.look(intent_id)
        if intent.status != "INITIATED":
            return _STATES[intent.status]
        return PaymentStep(outcome="DECLINED", code=error.code[:80], reason=str(error)[:200])

    async def _capture(self, intent_id: UUID) -> PaymentStep:
        if await self._read(intent_id) is None:
            return _UNKNOWN
        try:
            intent = await self._paying.capture(intent_id)
        except IllegalTransition:
            found = await self._read(intent_id)
            return _STATES[found.status] if found is not None and found.status != "INITIATED" else PaymentStep(outcome="PENDING")
        except (GatewayAway, GatewayRefused):
            return PaymentStep(outcome="PENDING")
        return PaymentStep(outcome="CAPTURED") if intent.captured_amount else PaymentStep(outcome="PENDING")

    async def _cancel(self, intent_id: UUID) -> PaymentStep:
        if await self._read(intent_id) is None:
            return _UNKNOWN
        try:
            intent = await self._paying.void(intent_id)
        except IllegalTransition:
            return PaymentStep(outcome="CAPTURED")
        except (GatewayAway, GatewayRefused):
            return PaymentStep(outcome="PENDING")
        return _STATES.get(intent.status, PaymentStep(outcome="PENDING"))

    async def _refund(self, asked: RefundStep) -> PaymentStep:
        intent = await self._read(asked.intent_id)
        if intent is None:
            return _UNKNOWN
        if not intent.captured_amount:
            return _STATES.get(intent.status, PaymentStep(outcome="PENDING"))
        order = RefundOrder(reason=asked.reason[:200] or "order", amount=asked.amount)
        call = Call(scope="ask.payments.refund", key=str(asked.step_id), fingerprint=fingerprint(json.encode(asked)))
        try:
            told = await self._refunding.refund(asked.intent_id, order, call=call, by="orders")
        except (NotRefundable, RefundTooLarge, RefundRefused) as error:
            return await self._unrefunded(asked.intent_id, error)
        except Unavailable:
            return PaymentStep(outcome="PENDING")
        after = await self._read(asked.intent_id)
        total = after.refunded_amount if after is not None else intent.refunded_amount
        return PaymentStep(outcome="REFUNDED", total_refunded=total, under_way=told.status == ACCEPTED)

    async def _unrefunded(self, intent_id: UUID, error: Problem) -> PaymentStep:
        """What is gone back already needs no refund; anything else is for a person."""
        intent = await self._read(intent_id)
        if intent is not None and intent.refunded_amount and intent.refunded_amount == intent.captured_amount:
            return PaymentStep(outcome="REFUNDED", total_refunded=intent.refunded_amount)
        return PaymentStep(outcome="REFUSED", code=error.code, reason=error.detail[:200])

    async def _read(self, intent_id: UUID) -> Intent | None:
        async with self._database.connection() as connection:
            return await repository.intent(connection, intent_id)


def _new(asked: Authorize) -> NewIntent:
    cause = context.current()
    return NewIntent(
        id=asked.intent_id,
        subject_type="ORDER",
        subject_id=asked.order_id,
        campaign_id=None,
        title=asked.title,
        user_id=asked.user_id,
        amount=asked.amount,
        currency=asked.currency,
        gateway=asked.gateway,
        method=asked.method,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
        expires_at=asked.expires_at,
    )
