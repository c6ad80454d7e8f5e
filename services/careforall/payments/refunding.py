"""Refunds: a row first, the gateway second, the outcome third; a crash between any two is finished by `settle_refunds`.

The order's Idempotency-Key and the row's id make each step repeatable; pending rows limit what may be ordered besides (rule 13).
"""

from decimal import Decimal
from uuid import UUID

import msgspec
import structlog

from careforall.kit import context, crash, json, money
from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyInUse, IdempotencyKeyReused, InvalidInput
from careforall.kit.idempotency import Answer, Call
from careforall.kit.ids import new_id
from careforall.kit.text import refuse_texts, text_error
from careforall.payments import repository, repository_refunds
from careforall.payments.domain import GENERIC, Intent, RefundFact
from careforall.payments.errors import NotRefundable, PaymentNotFound, RefundRefused, RefundTooLarge
from careforall.payments.gateways.base import GatewayNotAsked, GatewayRefund, GatewayRefused, GatewayUnknown
from careforall.payments.gateways.registry import Gateways
from careforall.payments.recording import record
from careforall.payments.records import Refund
from careforall.payments.schemas import RefundOrder, refund_out

log = structlog.get_logger(__name__)

CREATED, ACCEPTED = 201, 202
_BATCH = 20


class Ordered(msgspec.Struct, frozen=True, kw_only=True):
    """A refund that is to be carried out; `again` where a call before this one may have been heard."""

    intent: Intent
    refund: Refund
    again: bool = False


class Refunding:
    """Orders refunds and carries them out.

    Args:
        max_attempts: Only handed on to whoever records facts.
    """

    def __init__(self, database: Database, gateways: Gateways, *, max_attempts: int) -> None:
        self._database = database
        self._gateways = gateways
        self._max_attempts = max_attempts

    async def refund(self, payment_id: UUID, order: RefundOrder, *, call: Call, by: str) -> Answer:
        """Send money back and return the finished answer, or the one a repeat had got.

        Raises:
            PaymentNotFound, NotRefundable, RefundTooLarge, RefundRefused: Nothing moved.
            IdempotencyKeyReused, IdempotencyKeyInUse: See the key.
        """
        refuse_texts(text_error("/reason", order.reason, limit=200))
        admitted = await self._database.run(lambda connection: self._admit(connection, payment_id, order, call, by))
        return admitted if isinstance(admitted, Answer) else await self._carry_out(admitted)

    async def settle_refunds(self) -> int:
        """Carry on with refunds whose worker is gone or whose gateway had not answered; return how many."""
        seconds = self._gateways.limits.longest
        due = await self._database.run(lambda connection: repository_refunds.due_refunds(connection, seconds, _BATCH))
        for refund in due:
            await self._carry_on(refund)
        return len(due)

    async def _carry_on(self, refund: Refund) -> None:
        async with self._database.connection() as connection:
            intent = await repository.intent(connection, refund.intent_id)
        if intent is None:
            return
        with context.within(intent.cause):
            try:
                await self._carry_out(Ordered(intent=intent, refund=refund, again=True))
            except RefundRefused:
                log.warning("gateway refused a pending refund", refund_id=str(refund.id))

    async def _admit(self, connection: Connection, payment_id: UUID, order: RefundOrder, call: Call, by: str) -> Ordered | Answer:
        """Admit an order under the intent's lock, or find the one this key made before."""
        intent = await repository.lock_intent(connection, payment_id)
        if intent is None:
            raise PaymentNotFound
        key = f"{call.scope}|{call.key}"
        known = await repository_refunds.refund_by_key(connection, key)
        if known is not None:
            return await self._known(connection, intent, known, call)
        refund = Refund(
            id=new_id(),
            intent_id=payment_id,
            gateway=intent.captured_via or GENERIC,
            gateway_refund_id=None,
            amount=await _admitted_amount(connection, intent, order),
            status="PENDING",
            reason=order.reason,
            requested_by=by,
            request_key=key,
            request_hash=call.fingerprint,
        )
        if not await repository_refunds.claim_refund(connection, refund, self._gateways.limits.longest):
            raise IdempotencyKeyReused
        return Ordered(intent=intent, refund=refund)

    async def _known(self, connection: Connection, intent: Intent, known: Refund, call: Call) -> Ordered | Answer:
        if known.request_hash != call.fingerprint or known.intent_id != intent.id:
            raise IdempotencyKeyReused
        if known.status == "FAILED":
            raise RefundRefused(refund_id=str(known.id))
        if known.status == "SUCCEEDED":
            answer = await _answered(connection, intent, known)
            return Answer(status=answer.status, body=answer.body, replayed=True)
        if not await repository_refunds.lease_refund(connection, known.id, self._gateways.limits.longest):
            raise IdempotencyKeyInUse
        return Ordered(intent=intent, refund=known, again=True)

    async def _carry_out(self, ordered: Ordered) -> Answer:
        """Call the gateway and record its answer; what stays unknown stays PENDING and is asked about again."""
        intent, refund = ordered.intent, ordered.refund
        crash.point("refund.before_gateway")
        try:
            made = await self._made_before(ordered) if ordered.again else None
            made = made or await self._order(ordered)
        except (GatewayUnknown, GatewayNotAsked) as error:
            log.warning("refund stays pending", refund_id=str(refund.id), error=str(error))
            answer = Answer(status=ACCEPTED, body=json.encode(refund_out(intent, refund)))
        else:
            crash.point("refund.after_gateway_before_record")
            answer = await self._database.run(lambda connection: self._record(connection, refund, made))
            crash.point("refund.after_record")
        if answer.status == ACCEPTED:
            await self._database.run(lambda connection: repository_refunds.release_refund(connection, refund.id))
        return answer

    async def _made_before(self, ordered: Ordered) -> GatewayRefund | None:
        """Find the refund an earlier call made: gateways forget keys after a day, and a repeat after that would pay twice."""
        refund, charged = ordered.refund, _charged(ordered).gateway_object
        if refund.gateway == GENERIC:
            return None
        try:
            shown = await self._gateways.call(refund.gateway, "show", lambda gateway: gateway.show(charged))
        except GatewayRefused as error:  # says nothing of the refund
            raise GatewayUnknown(str(error)) from error
        for fact in shown.facts:
            if isinstance(fact, RefundFact) and fact.refund_id == refund.id:
                return GatewayRefund(id=fact.gateway_refund_id, status=fact.status)
        return None

    async def _order(self, ordered: Ordered) -> GatewayRefund:
        """Order a refund at its gateway; one that is refused has failed."""
        refund = ordered.refund
        try:
            return await self._gateways.call(
                refund.gateway,
                "refund",
                lambda gateway: gateway.refund(_charged(ordered), refund.amount, refund_id=refund.id, reason=refund.reason),
            )
        except GatewayRefused as error:
            refused = GatewayRefund(id=f"refused_{refund.id}", status="FAILED")
            answered = not ordered.again and refund.requested_by != "payments"
            await self._database.run(lambda connection: self._record(connection, refund, refused, answered=answered))
            raise RefundRefused(str(error), refund_id=str(refund.id)) from error

    async def _record(self, connection: Connection, refund: Refund, made: GatewayRefund, *, answered: bool = False) -> Answer:
        """Record the gateway's word, unless a webhook was faster, and keep the answer for repeats."""
        locked = await repository.lock_intent(connection, refund.intent_id)
        if locked is None:
            raise PaymentNotFound
        fact = RefundFact(
            gateway_refund_id=made.id,
            refund_id=refund.id,
            amount=refund.amount,
            currency=locked.currency,
            status=made.status,
            answered=answered,
            reason=refund.reason,
        )
        _, intent = await record(
            connection, locked, fact, via=refund.gateway, cause="refund ordered", max_attempts=self._max_attempts
        )
        row = next(one for one in await repository_refunds.refunds(connection, intent.id) if one.id == refund.id)
        return await _answered(connection, intent, row)


def _charged(ordered: Ordered) -> Intent:
    """Return the intent with the gateway's object that is to be refunded; money that came too late has one of its own."""
    intent, refund = ordered.intent, ordered.refund
    return msgspec.structs.replace(intent, gateway_object=refund.gateway_object) if refund.unapplied else intent


async def _answered(connection: Connection, intent: Intent, refund: Refund) -> Answer:
    """Return the answer of a refund; the first one after it settled is kept byte for byte."""
    if refund.answer is not None:
        return Answer(status=CREATED, body=refund.answer)
    body = json.encode(refund_out(intent, refund))
    if refund.status != "SUCCEEDED":
        return Answer(status=ACCEPTED, body=body)
    await repository_refunds.keep_refund_answer(connection, refund.id, body)
    return Answer(status=CREATED, body=body)


async def _admitted_amount(connection: Connection, intent: Intent, order: RefundOrder) -> Decimal:
    """Return the amount that may go back: refunds, settled and pending, and disputes together stay within what was captured."""
    if intent.status != "CAPTURED":
        raise NotRefundable(f"This payment is {intent.status}.", status_of_payment=intent.status)
    pending = [refund.amount for refund in await repository_refunds.refunds(connection, intent.id) if refund.status == "PENDING"]
    left = max(intent.captured_amount - intent.refunded_amount - intent.disputed_amount - sum(pending, Decimal(0)), Decimal(0))
    amount = left if order.amount is None else _parsed(order.amount, intent.currency)
    if amount <= 0 or amount > left:
        left_shown = money.show(left, intent.currency)
        raise RefundTooLarge.field("/amount", "refund_exceeds_captured", f"at most {left_shown} {intent.currency} can go back")
    return amount


def _parsed(amount: Decimal, currency: str) -> Decimal:
    try:
        return money.parse_amount(amount, currency)
    except money.MoneyError as error:
        raise InvalidInput.field("/amount", error.code, str(error)) from error
