"""What a step of a saga writes: the saga with the intent to its next step, lines of its log, the order, facts and events."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import msgspec

from careforall.kit.ids import new_id
from careforall.orders import events
from careforall.orders.domain import Fact, Order, order_number
from careforall.orders.records import Logged, LogStatus, Run, Sale, Turn
from careforall.orders.saga_words import BACK, Announce, Answered, Command, PaymentTold, Place, Saga, SagaEvent, Settle, Tell
from careforall.orders.saga_words import Ask as AskStep
from careforall.orders.settings import OrdersSettings

Clock = Callable[[], datetime]

_MARGIN = 5.0
"""Seconds a payer's time is over before we end the intent ourselves."""


class Turns:
    """Makes turns.

    Args:
        settings: How long what waits.
        clock: Says when what happens to orders happened, for a story of the past; without one it happens when it is written.
    """

    def __init__(self, settings: OrdersSettings, clock: Clock | None = None) -> None:
        self._settings = settings
        self._clock = clock

    def told_at(self) -> datetime | None:
        """Return when what happens now happened, in a story of the past; else None, which is when it is written."""
        return self._clock() if self._clock else None

    def of(
        self,
        before: Run,
        saga: Saga,
        commands: tuple[Command, ...],
        sale: Sale,
        *,
        answered: Answered | None = None,
        heard: SagaEvent | None = None,
        epoch: int | None = None,
    ) -> Turn:
        """Return everything one step writes."""
        at = self.told_at()
        now = at or datetime.now(UTC)
        placing = any(isinstance(command, Place) for command in commands)
        announcing = any(isinstance(command, Announce) for command in commands)
        if placing:
            sale = msgspec.structs.replace(sale, order_number=order_number(saga.id, now.year))
        if announcing:
            sale = msgspec.structs.replace(sale, pay_until=now + timedelta(seconds=self._settings.payment_seconds))
        ends = [_outcome(before.saga, answered)] if answered else [_heard(before.saga, heard)] if heard else []
        logs = (*ends, *(_started(one) for one in commands if _asks(one)))
        after = Run(
            saga=saga,
            sale=sale,
            epoch=epoch or before.epoch,
            version=before.version + 1,
            logged=before.logged + len(logs),
            request_hash=before.request_hash,
            created_at=before.created_at,
        )
        return Turn(
            id=new_id(),
            before=before,
            after=after,
            lease=self._lease(saga),
            logs=logs,
            order=_order(saga, sale, now, announced=announcing) if placing else None,
            facts=_dated(at, _facts(saga, sale, commands, placing=placing, answered=answered)),
            events=(events.initiated(saga.id, sale),) if any(isinstance(one, Tell) for one in commands) else (),
            refunded_return=sale.return_id if answered is not None and answered.step == "refund" else None,
            told_at=at,
        )

    def _lease(self, saga: Saga) -> float | None:
        match saga.stage:
            case "end":
                return None
            case "ready":
                return float(self._settings.checkout_seconds + self._settings.checkout_grace_seconds)
            case "payer":
                return self._settings.payment_seconds + _MARGIN
            case _:
                return self._settings.saga_lease_seconds


def _dated(at: datetime | None, facts: Sequence[Fact]) -> tuple[Fact, ...]:
    return tuple(msgspec.structs.replace(fact, at=at) for fact in facts)


def _asks(command: Command) -> bool:
    return isinstance(command, AskStep)


def _started(command: Command) -> Logged:
    assert isinstance(command, AskStep)
    return Logged(step=command.step, attempt=command.attempt, status="STARTED")


_FAILED = frozenset({"OUT_OF_STOCK", "REFUSED", "NOT_HELD", "DECLINED", "ENDED"})


def _outcome(saga: Saga, answer: Answered) -> Logged:
    status: LogStatus = "COMPENSATED" if answer.step in BACK else "FAILED" if answer.outcome in _FAILED else "COMPLETED"
    return Logged(
        step=answer.step, attempt=saga.attempts[answer.step], status=status, data=f"{answer.outcome} {answer.reason}".strip()
    )


def _heard(saga: Saga, event: SagaEvent) -> Logged:
    """Return the line of something from outside, which ends the step or the wait that the saga was at."""
    said = event.status if isinstance(event, PaymentTold) else getattr(event, "reason", "")
    return Logged(
        step=saga.stage,
        attempt=saga.attempts.get(saga.stage, 0),
        status="COMPLETED",
        data=f"{type(event).__name__} {said}".strip(),
    )


def _order(saga: Saga, sale: Sale, now: datetime, *, announced: bool) -> Order:
    assert sale.amounts is not None
    amounts = sale.amounts
    return Order(
        id=sale.order_id,
        order_number=sale.order_number,
        saga_id=saga.id,
        intent_id=sale.intent_id,
        user_id=sale.user_id,
        email=sale.email.lower(),
        cart_id=sale.cart_id,
        status="PENDING",
        currency=amounts.currency,
        subtotal=amounts.subtotal,
        discount=amounts.discount,
        shipping=amounts.shipping,
        tax=amounts.tax,
        total=amounts.total,
        refunded_amount=Decimal(0),
        gateway=sale.gateway,
        paid_by="",
        shipping_address=sale.shipping_address,
        billing_address=sale.billing_address,
        carrier="",
        tracking="",
        reason="",
        version=1,
        correlation_id=sale.correlation_id,
        traceparent=sale.traceparent,
        expires_at=sale.pay_until if announced else None,
        created_at=now,
        updated_at=now,
        confirmed_at=None,
        delivered_at=None,
        lines=sale.lines,
    )


def _facts(saga: Saga, sale: Sale, commands: tuple[Command, ...], *, placing: bool, answered: Answered | None) -> list[Fact]:
    """Return what a step makes of the order besides placing it."""
    found: list[Fact] = []
    for command in commands:
        if isinstance(command, Announce) and not placing:
            found.append(Fact(order_id=sale.order_id, cause="stock reserved", announced=True, expires_at=sale.pay_until))
        elif isinstance(command, Settle):
            paid = ("HAND" if saga.by_hand else "PAYMENT") if command.to == "CONFIRMED" else ""
            found.append(
                Fact(order_id=sale.order_id, to=command.to, cause=f"saga {saga.id}", reason=command.reason, paid_by=paid)
            )
    if answered is not None and answered.step == "refund" and sale.refunded:
        found.append(Fact(order_id=sale.order_id, cause="refunded", total_refunded=sale.refunded))
    if answered is not None and answered.step == "refund" and saga.type == "RETURN":
        found.append(Fact(order_id=sale.order_id, to="REFUNDED", cause=f"return {sale.return_id}"))
    return found
