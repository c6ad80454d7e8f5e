"""What each step of a saga asks of its owner, and what the answer means to the saga (docs/decisions/0012).

A step is a request with an id made from saga, step and try: asked again with the same id it is answered as the first time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid5

import msgspec

from careforall.contracts import carts, inventory, payments, pricing
from careforall.kit import json
from careforall.kit.errors import Problem
from careforall.kit.service import Ask
from careforall.orders import pricing_of
from careforall.orders.records import Run, Sale
from careforall.orders.saga_words import Answered, Outcome, step_id
from careforall.orders.saga_words import Step as SagaStep
from careforall.orders.settings import OrdersSettings

T = TypeVar("T")
Heard = tuple[Answered, Sale]
"""What came of a step, and what the saga carries on."""

_PIN_MARGIN = timedelta(hours=1)
"""How long a pinned hold outlives the intent it is pinned for (rule 15)."""


class Away(Exception):
    """The owner of a step did not answer, or not in time: it may have been done, and asking again tells."""


class Asks:
    """Asks the owners of steps.

    Args:
        ask: Asks another service now.
        seconds: How long an answer may take.
    """

    def __init__(self, ask: Ask, settings: OrdersSettings, *, seconds: float) -> None:
        self._ask = ask
        self._settings = settings
        self._seconds = seconds
        self._steps: Mapping[SagaStep, Callable[[Run, UUID], Awaitable[Heard]]] = {
            "reserve": self._reserve,
            "lock": self._lock,
            "pin": self._pin,
            "authorise": self._authorise,
            "confirm": self._confirm,
            "capture": self._capture,
            "redeem": self._redeem,
            "cancel": self._cancel,
            "refund": self._refund,
            "release": self._release,
            "restock": self._restock,
            "free": self._free,
        }

    async def step(self, run: Run, step: SagaStep) -> Heard:
        """Do a step and return what came of it.

        Raises:
            Away: Nobody knows yet.
        """
        return await self._steps[step](run, step_id(run.saga.id, step, run.saga.attempts[step]))

    async def query(self, subject: str, asked: msgspec.Struct, kind: type[T]) -> T:
        """Ask a question.

        Raises:
            Away: There was no answer.
        """
        try:
            async with asyncio.timeout(self._seconds):
                return msgspec.json.decode(await self._ask(subject, json.encode(asked)), type=kind)
        except (TimeoutError, Problem, msgspec.MsgspecError) as error:
            raise Away(f"{subject}: {error!r}") from error

    async def sold_out(self, sale: Sale) -> list[str]:
        """Return what a sale wants that was sold out a moment ago: nothing has to be written to refuse it (rule 16).

        Whoever steps into the place of a cart that holds stock is not turned away, and nobody is where inventory is away.
        """
        if sale.cart_holders:
            return []
        asked = inventory.AvailabilityAsked(skus=[one.sku for one in sale.wanted])
        try:
            return (await self.query(inventory.SOLD_OUT, asked, inventory.SoldOut)).skus
        except Away:
            return []

    async def short(self, sale: Sale) -> list[str]:
        """Return of what less is available than a sale wants that will hold its goods later; nobody is turned away as above.

        Raises:
            Away: Nobody knows.
        """
        if sale.cart_holders:
            return []
        asked = inventory.AvailabilityAsked(skus=[one.sku for one in sale.wanted])
        told = await self.query(inventory.AVAILABILITY, asked, inventory.Availability)
        return [one.sku for one in sale.wanted if told.available.get(one.sku, 0) < one.quantity]

    async def clear(self, cart_id: UUID, units: Mapping[str, int]) -> None:
        """Have the cart closed that became an order, so that what was bought does not lie in it any more.

        Raises:
            Away: Nobody knows whether it is; the event of the confirmed order has it closed too.
        """
        await self.query(carts.CLEAR, carts.Clear(cart_id=cart_id, units=dict(units)), carts.Cleared)

    async def _settled(self, step: SagaStep, subject: str, asked: msgspec.Struct) -> Answered:
        """Ask for a step that is done, or finds nothing to do it with."""
        told = await self.query(subject, asked, inventory.Settled)
        if told.outcome == "REFUSED":
            raise Away(f"{subject}: refused, {told.reason}")
        return Answered(step=step, outcome=told.outcome)

    async def _reserve(self, run: Run, identifier: UUID) -> Heard:
        sale, direct = run.sale, run.saga.type == "DIRECT"
        asked = inventory.Reserve(
            step_id=identifier,
            holder_id=run.saga.id,
            saga_id=run.saga.id,
            lines=_lines(sale),
            seconds=self._settings.payment_seconds if direct else self._settings.checkout_seconds,
            region=sale.shipping_address.country if sale.shipping_address else "",
            takes=list(sale.cart_holders),
        )
        told = await self.query(inventory.RESERVE, asked, inventory.Reserved)
        if told.outcome == "RESERVED":
            held = msgspec.structs.replace(sale, held_until=told.expires_at, delivery_days=told.delivery_days, short=())
            return Answered(step="reserve", outcome="DONE"), held
        outcome: Outcome = "OUT_OF_STOCK" if told.outcome == "OUT_OF_STOCK" else "REFUSED"
        answer = Answered(step="reserve", outcome=outcome, reason=told.reason or told.outcome.lower())
        return answer, msgspec.structs.replace(sale, short=tuple(told.short))

    async def _lock(self, run: Run, identifier: UUID) -> Heard:
        sale = run.sale
        asked = pricing.Lock(
            step_id=identifier,
            holder_id=run.saga.id,
            asked=pricing_of.question(sale),
            seconds=self._settings.checkout_seconds,
        )
        quote = await self.query(pricing.LOCK, asked, pricing.Quote)
        if gone := pricing_of.unpriced(quote, sale):
            return Answered(step="lock", outcome="REFUSED", reason=pricing_of.why_unpriced(quote)), msgspec.structs.replace(
                sale, short=gone
            )
        if quote.total <= 0:
            return Answered(step="lock", outcome="REFUSED", reason="nothing_to_pay"), sale
        if run.saga.paying and pricing_of.asks_again(sale, quote, datetime.now(UTC), self._settings.price_rise_percent):
            return Answered(step="lock", outcome="PENDING", reason="price_changed"), pricing_of.unpromised(sale, quote)
        return Answered(step="lock", outcome="DONE"), pricing_of.priced(sale, quote)

    async def _pin(self, run: Run, identifier: UUID) -> Heard:
        """Pin coupons, then stock; until when is part of what was stored, so that a repeat says the same."""
        sale = run.sale
        held = sale.held_until or sale.locked_until
        assert held is not None
        until = held + timedelta(seconds=self._settings.payment_seconds) + _PIN_MARGIN
        if run.saga.coupons:
            coupons = pricing.Extend(step_id=uuid5(identifier, "coupons"), holder_id=run.saga.id, until=until, pinned=True)
            kept = await self._settled("pin", pricing.EXTEND, coupons)
            if kept.outcome == "NOT_HELD":
                return Answered(step="pin", outcome="REFUSED", reason="coupon_gone"), sale
        asked = inventory.Extend(step_id=identifier, holder_id=run.saga.id, until=until, pinned=True)
        return await self._settled("pin", inventory.EXTEND, asked), sale

    async def _authorise(self, run: Run, identifier: UUID) -> Heard:
        sale = run.sale
        if sale.card is None or sale.amounts is None or sale.pay_until is None:
            return Answered(step="authorise", outcome="PENDING"), sale
        asked = payments.Authorize(
            step_id=identifier,
            intent_id=sale.intent_id,
            order_id=sale.order_id,
            title=title(sale),
            user_id=sale.user_id,
            amount=sale.amounts.total,
            currency=sale.amounts.currency,
            gateway=sale.gateway,
            expires_at=sale.pay_until,
            method=sale.card.method,
            payment_token=sale.card.token,
        )
        told = await self.query(payments.AUTHORIZE, asked, payments.PaymentStep)
        outcome = _AUTHORISED.get(told.outcome)
        if outcome is None:
            raise Away(f"{payments.AUTHORIZE}: {told.outcome} {told.code}")
        answered = msgspec.structs.replace(
            sale,
            card=None,
            card_key=sale.card.key,
            decline=told.code or told.reason if outcome == "DECLINED" else "",
            redirect_url=told.redirect_url,
        )
        return Answered(step="authorise", outcome=outcome, reason=told.code or told.reason), answered

    async def _confirm(self, run: Run, identifier: UUID) -> Heard:
        asked = inventory.Settle(step_id=identifier, holder_id=run.saga.id, cause=f"order {run.sale.order_number}")
        return await self._settled("confirm", inventory.CONFIRM, asked), run.sale

    async def _capture(self, run: Run, identifier: UUID) -> Heard:
        asked = payments.IntentStep(step_id=identifier, intent_id=run.sale.intent_id)
        told = await self.query(payments.CAPTURE, asked, payments.PaymentStep)
        if told.outcome == "CAPTURED":
            return Answered(step="capture", outcome="CAPTURED"), run.sale
        if told.outcome in {"ENDED", "REFUNDED"}:
            return Answered(step="capture", outcome="ENDED", reason=told.reason), run.sale
        raise Away(f"{payments.CAPTURE}: {told.outcome} {told.code}")

    async def _cancel(self, run: Run, identifier: UUID) -> Heard:
        asked = payments.IntentStep(step_id=identifier, intent_id=run.sale.intent_id)
        subject = payments.VOID if run.saga.has("authorise") else payments.CANCEL
        told = await self.query(subject, asked, payments.PaymentStep)
        if told.outcome not in {"ENDED", "CAPTURED"}:
            raise Away(f"{subject}: {told.outcome} {told.code}")
        return Answered(step="cancel", outcome="ENDED" if told.outcome == "ENDED" else "CAPTURED"), run.sale

    async def _refund(self, run: Run, identifier: UUID) -> Heard:
        sale = run.sale
        if sale.refund_amount == 0:  # goods that cost nothing, or whose money is back already
            return Answered(step="refund", outcome="DONE"), sale
        asked = payments.RefundStep(
            step_id=identifier,
            intent_id=sale.intent_id,
            amount=sale.refund_amount,
            reason=sale.refund_reason or run.saga.ending or "order cancelled",
        )
        told = await self.query(payments.REFUND, asked, payments.PaymentStep)
        if told.outcome not in {"REFUNDED", "ENDED"}:
            raise Away(f"{payments.REFUND}: {told.outcome} {told.code} {told.reason}")
        refunded = msgspec.structs.replace(
            sale, refunded=told.total_refunded, refund_pending=told.under_way, went_back=told.refund_amount
        )
        return Answered(step="refund", outcome="PENDING" if told.under_way else "DONE"), refunded

    async def _release(self, run: Run, identifier: UUID) -> Heard:
        asked = inventory.Settle(step_id=identifier, holder_id=run.saga.id, cause=run.saga.ending or "released")
        return await self._settled("release", inventory.RELEASE, asked), run.sale

    async def _restock(self, run: Run, identifier: UUID) -> Heard:
        sale = run.sale
        back = [inventory.Line(sku=line.sku, quantity=line.quantity) for line in sale.back] or _lines(sale)
        holder = sale.holder_id or run.saga.id
        cause = sale.refund_reason or run.saga.ending or "returned"
        asked = inventory.Restock(step_id=identifier, holder_id=holder, lines=back, cause=cause)
        return await self._settled("restock", inventory.RESTOCK, asked), sale

    async def _redeem(self, run: Run, identifier: UUID) -> Heard:
        asked = pricing.Settle(step_id=identifier, holder_id=run.saga.id)
        return await self._settled("redeem", pricing.REDEEM, asked), run.sale

    async def _free(self, run: Run, identifier: UUID) -> Heard:
        asked = pricing.Settle(step_id=identifier, holder_id=run.sale.holder_id or run.saga.id)
        return await self._settled("free", pricing.RELEASE, asked), run.sale


def title(sale: Sale) -> str:
    """Return what the payer reads: the order's number and what it begins with."""
    first = sale.lines[0].name if sale.lines else ""
    more = f" and {len(sale.lines) - 1} more" if len(sale.lines) > 1 else ""
    return f"{sale.order_number}: {first}{more}"[:200]


_AUTHORISED: Mapping[str, Outcome] = {
    "AUTHORIZED": "AUTHORIZED",
    "CAPTURED": "CAPTURED",
    "DECLINED": "DECLINED",
    "PENDING": "PENDING",
    "ENDED": "ENDED",
}


def _lines(sale: Sale) -> list[inventory.Line]:
    return [inventory.Line(sku=one.sku, quantity=one.quantity) for one in sale.wanted]
