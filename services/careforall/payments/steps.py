"""Steps of a checkout that move money, asked for by orders (docs/decisions/0012): authorise, capture, cancel, refund.

A step is noted before a gateway is called, under the asker's id, which is also the key at the gateway; its answer is kept once it
is known for good, for as long as those of other keys. A step that is asked for again while it runs waits for the same answer.
The steps of one moment are noted, and answered, in transactions that they share (rule 1).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from functools import partial
from uuid import UUID

import msgspec

from careforall.contracts.payments import Authorize, IntentStep, PaymentStatus, PaymentStep, RefundStep
from careforall.kit import context, json
from careforall.kit.batch import GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Problem, Unavailable
from careforall.kit.idempotency import Call, fingerprint
from careforall.kit.retention import IDEMPOTENCY, until_empty
from careforall.payments import repository, repository_steps
from careforall.payments.domain import Intent
from careforall.payments.errors import GatewayAway, IllegalTransition, NotRefundable, RefundRefused, RefundTooLarge
from careforall.payments.gateways.base import PAGE_ONLY, GatewayDeclined, GatewayNotAsked, GatewayRefused, GatewayUnknown
from careforall.payments.paying import Paying
from careforall.payments.records import Answered, Attempt, Begun, NewIntent
from careforall.payments.refunding import ACCEPTED, Refunding
from careforall.payments.schemas import RefundOrder, RefundOut

Create = Callable[[Connection, Sequence[NewIntent]], Awaitable[Sequence[Intent]]]
"""Makes intents in the given transaction, and returns those that were new."""
_BITE = 1000
Work = Callable[[Intent | None], Awaitable[PaymentStep]]
"""Does a step; given the intent as it was when the step was noted."""

_STATES: dict[PaymentStatus, PaymentStep] = {
    "AUTHORIZED": PaymentStep(outcome="AUTHORIZED"),
    "CAPTURED": PaymentStep(outcome="CAPTURED"),
    "FAILED": PaymentStep(outcome="ENDED"),
    "REFUNDED": PaymentStep(outcome="ENDED"),
}
_OPEN = frozenset({"PENDING", "UNKNOWN_INTENT"})
"""Outcomes that are no end: asked for again, the step looks again."""
_PENDING, _UNKNOWN = PaymentStep(outcome="PENDING"), PaymentStep(outcome="UNKNOWN_INTENT")


class _Noted(msgspec.Struct, frozen=True, kw_only=True):
    """A step that was noted: its answer where it got one before, and its intent."""

    answer: bytes | None
    intent: Intent | None


class Steps:
    """Does the steps that move the money of orders.

    Args:
        create: Makes the intents of orders whose events have not come yet.
        max_batch: Steps per transaction.
        flights: Transactions in flight at once.
    """

    def __init__(
        self, database: Database, paying: Paying, refunding: Refunding, create: Create, *, max_batch: int, flights: int
    ) -> None:
        self._database = database
        self._paying = paying
        self._refunding = refunding
        self._create = create
        self._running: dict[UUID, asyncio.Future[bytes]] = {}
        self._begun: GroupCommit[Begun, _Noted] = GroupCommit(
            "payment-steps", database, self._write_begun, max_batch=max_batch, flights=flights
        )
        self._answered: GroupCommit[Answered, bytes] = GroupCommit(
            "payment-step-answers", database, _write_answers, swift=_write_answers, max_batch=max_batch, flights=flights
        )

    async def authorize(self, payload: bytes) -> bytes:
        """Hold the money of an order by a token; its intent is made here where its event has not come yet."""
        asked = msgspec.json.decode(payload, type=Authorize)
        return await self._step(asked.step_id, asked.intent_id, "AUTHORIZE", partial(self._authorize, asked), new=_new(asked))

    async def capture(self, payload: bytes) -> bytes:
        """Take the money that is held."""
        asked = msgspec.json.decode(payload, type=IntentStep)
        return await self._step(asked.step_id, asked.intent_id, "CAPTURE", self._capture)

    async def cancel(self, payload: bytes) -> bytes:
        """End an intent at its gateway, releasing what is held."""
        asked = msgspec.json.decode(payload, type=IntentStep)
        return await self._step(asked.step_id, asked.intent_id, "CANCEL", self._cancel)

    async def refund(self, payload: bytes) -> bytes:
        """Send money back."""
        asked = msgspec.json.decode(payload, type=RefundStep)
        return await self._step(asked.step_id, asked.intent_id, "REFUND", partial(self._refund, asked))

    async def forget(self) -> None:
        """Forget old answers, in small bites."""
        await until_empty(self._database, repository_steps.OLD_ANSWERS, IDEMPOTENCY, bite=_BITE)

    async def drain(self) -> None:
        """Wait until everything accepted so far is written."""
        await self._begun.drain()
        await self._answered.drain()

    async def _step(self, step_id: UUID, intent_id: UUID, what: str, work: Work, *, new: NewIntent | None = None) -> bytes:
        """Do a step once: repeats of one that runs here wait for it, others meet its row."""
        running = self._running.get(step_id)
        if running is None:
            running = self._running[step_id] = asyncio.ensure_future(self._once(step_id, intent_id, what, work, new))
            running.add_done_callback(lambda _: self._running.pop(step_id, None))
        return await asyncio.shield(running)

    async def _once(self, step_id: UUID, intent_id: UUID, what: str, work: Work, new: NewIntent | None) -> bytes:
        begun = Begun(step_id=step_id, intent_id=intent_id, what=what, new=new)
        noted = await self._begun.submit(begun, key=str(step_id))
        if noted.answer is not None:
            return noted.answer
        told = await work(noted.intent)
        body = json.encode(told)
        if told.outcome in _OPEN:
            return body
        return await self._answered.submit(Answered(step_id=step_id, body=body), key=str(step_id))

    async def _write_begun(self, connection: Connection, batch: Sequence[Begun]) -> Sequence[_Noted]:
        answers = await repository_steps.claim(connection, batch)
        intents = await repository.intents(connection, [one.intent_id for one in batch])
        if missing := {one.intent_id: one.new for one in batch if one.new is not None and one.intent_id not in intents}:
            await self._create(connection, list(missing.values()))
            intents |= await repository.intents(connection, list(missing))
        return [_Noted(answer=answers.get(one.step_id), intent=intents.get(one.intent_id)) for one in batch]

    async def _authorize(self, asked: Authorize, intent: Intent | None) -> PaymentStep:
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
        except GatewayNotAsked as error:
            return PaymentStep(outcome="PENDING", redirect_url=page, code=error.code)
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
            return await self._cancel(paper.intent)
        last = paper.attempt
        if last is not None and last.status == "FAILED":
            return PaymentStep(outcome="DECLINED", code=last.code or "gateway_refused", reason=last.reason)
        return PaymentStep(outcome="PENDING", redirect_url=f"/pay/{intent_id}")

    async def _not_paid(self, intent_id: UUID, error: GatewayRefused, redirect_url: str) -> PaymentStep:
        """The gateway did nothing: it wants the payer on its page, or the object went on without us."""
        if error.code == PAGE_ONLY:
            return PaymentStep(outcome="PENDING", redirect_url=redirect_url, code=error.code)
        intent = await self._paying.look(intent_id)
        if intent.status != "INITIATED":
            return _STATES[intent.status]
        return PaymentStep(outcome="DECLINED", code=error.code[:80], reason=str(error)[:200])

    async def _capture(self, intent: Intent | None) -> PaymentStep:
        if intent is None:
            return _UNKNOWN
        try:
            after = await self._paying.capture_intent(intent)
        except IllegalTransition:
            return _end(await self._read(intent.id))
        except GatewayAway:
            return _PENDING
        return PaymentStep(outcome="CAPTURED") if after.captured_amount else _PENDING

    async def _cancel(self, intent: Intent | None) -> PaymentStep:
        if intent is None:
            return _UNKNOWN
        try:
            ended = await self._paying.void(intent.id)
        except IllegalTransition:
            return PaymentStep(outcome="CAPTURED")
        except GatewayAway:
            return _PENDING
        return _end(ended)

    async def _refund(self, asked: RefundStep, intent: Intent | None) -> PaymentStep:
        if intent is None:
            return _UNKNOWN
        if not intent.captured_amount:
            return _end(intent)
        order = RefundOrder(reason=asked.reason[:200] or "order", amount=_still_there(asked, intent))
        call = Call(scope="ask.payments.refund", key=str(asked.step_id), fingerprint=fingerprint(json.encode(asked)))
        try:
            told = await self._refunding.refund(asked.intent_id, order, call=call, by="orders")
        except (NotRefundable, RefundTooLarge, RefundRefused) as error:
            return await self._unrefunded(asked.intent_id, error)
        except Unavailable:
            return _PENDING
        after = await self._read(asked.intent_id)
        total = after.refunded_amount if after is not None else intent.refunded_amount
        amount = msgspec.json.decode(told.body, type=RefundOut).amount
        return PaymentStep(
            outcome="REFUNDED", total_refunded=total, under_way=told.status == ACCEPTED, refund_amount=Decimal(amount)
        )

    async def _unrefunded(self, intent_id: UUID, error: Problem) -> PaymentStep:
        """What is gone back already needs no refund; anything else is for a person."""
        intent = await self._read(intent_id)
        if intent is not None and intent.refunded_amount and intent.refunded_amount == intent.captured_amount:
            return PaymentStep(outcome="REFUNDED", total_refunded=intent.refunded_amount, refund_amount=Decimal(0))
        return PaymentStep(outcome="REFUSED", code=error.code, reason=error.detail[:200])

    async def _read(self, intent_id: UUID) -> Intent | None:
        async with self._database.connection() as connection:
            return await repository.intent(connection, intent_id)


def _still_there(asked: RefundStep, intent: Intent) -> Decimal | None:
    """Return what is to go back: no more than is left, where staff has sent back a part already."""
    left = intent.captured_amount - intent.refunded_amount
    return asked.amount if asked.amount is None or not left else min(asked.amount, left)


def _end(intent: Intent | None) -> PaymentStep:
    """How money stands that was to be taken, let go or sent back; while it is only held, the step has to be done again."""
    return _PENDING if intent is None or intent.status in {"INITIATED", "AUTHORIZED"} else _STATES[intent.status]


async def _write_answers(connection: Connection, batch: Sequence[Answered]) -> Sequence[bytes]:
    kept = await repository_steps.answer(connection, batch)
    return [kept[one.step_id] for one in batch]


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
