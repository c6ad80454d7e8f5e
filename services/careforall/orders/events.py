"""Builds the events of this service out of its rows; one place, so that every event says the same of the same state."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from careforall.contracts.orders import (
    CheckoutInitiated,
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderDelivered,
    OrderFailed,
    OrderLine,
    OrderProcessing,
    OrderRefunded,
    OrderReturned,
    OrderShipped,
    OrderSnapshot,
    OrderStatus,
)
from careforall.kit import outbox
from careforall.kit.context import NOBODY, Cause
from careforall.kit.envelope import Event
from careforall.kit.outbox import Outgoing
from careforall.orders.domain import Line, Order, Step
from careforall.orders.records import Sale

SOURCE = "orders"


def initiated(saga_id: UUID, sale: Sale) -> Outgoing:
    """Return the event of a checkout that holds stock and price."""
    assert sale.amounts is not None
    assert sale.cart_id is not None
    event = CheckoutInitiated(
        checkout_id=saga_id,
        saga_id=saga_id,
        user_id=sale.user_id,
        cart_id=sale.cart_id,
        items=tuple(_line(line) for line in sale.lines),
        total=sale.amounts.total,
        currency=sale.amounts.currency,
        country=sale.shipping_address.country if sale.shipping_address else "",
    )
    cause = Cause(correlation_id=sale.correlation_id, traceparent=sale.traceparent)
    return outbox.outgoing(event, aggregate_id=saga_id, aggregate_version=1, source=SOURCE, cause=cause)


def created(order: Order) -> Outgoing:
    """Return the event of an order that waits for its money."""
    assert order.expires_at is not None
    event = OrderCreated(**_state(order), gateway=order.gateway, expires_at=order.expires_at, created_at=order.created_at)
    return _sealed(event, order)


def stepped(step: Step) -> Outgoing | None:
    """Return the event of a step; what concerns nobody else is not told."""
    event = _step_event(step)
    return _sealed(event, step.order) if event is not None else None


def snapshot(order: Order) -> Outgoing:
    """Return the present state as an event."""
    return outbox.outgoing(
        OrderSnapshot(**_state(order)), aggregate_id=order.id, aggregate_version=order.version, source=SOURCE, cause=NOBODY
    )


def _step_event(step: Step) -> Event | None:
    order, state = step.order, _state(step.order)
    if step.fact.announced and order.expires_at is not None:
        return OrderCreated(**state, gateway=order.gateway, expires_at=order.expires_at, created_at=order.created_at)
    if step.from_status == order.status:
        return _told_of_same_state(step, state)
    make = _OF_STATES.get(order.status)
    return make(order, state) if make is not None else None


_OF_STATES: Mapping[OrderStatus, Callable[[Order, dict[str, Any]], Event]] = {
    "CONFIRMED": lambda order, state: OrderConfirmed(**state, confirmed_at=order.confirmed_at or datetime.now(UTC)),
    "FAILED": lambda order, state: OrderFailed(**state, reason=order.reason),
    "PROCESSING": lambda _, state: OrderProcessing(**state),
    "SHIPPED": lambda order, state: OrderShipped(**state, carrier=order.carrier, tracking=order.tracking),
    "DELIVERED": lambda _, state: OrderDelivered(**state),
    "CANCELLED": lambda order, state: OrderCancelled(**state, reason=order.reason),
    "RETURNED": lambda _, state: OrderReturned(**state),
    "REFUNDED": lambda _, state: OrderRefunded(**state),
}


def _told_of_same_state(step: Step, state: dict[str, Any]) -> Event | None:
    if step.fact.total_refunded is not None:
        return OrderRefunded(**state)
    if step.fact.returned:
        return OrderReturned(**state)
    if step.fact.carrier:
        return OrderSnapshot(**state)
    return None


def _sealed(event: Event, order: Order) -> Outgoing:
    """Seal an event as part of the story that began with the order."""
    cause = Cause(correlation_id=order.correlation_id, traceparent=order.traceparent)
    return outbox.outgoing(event, aggregate_id=order.id, aggregate_version=order.version, source=SOURCE, cause=cause)


def _state(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "order_number": order.order_number,
        "intent_id": order.intent_id,
        "user_id": order.user_id,
        "saga_id": order.saga_id,
        "cart_id": order.cart_id,
        "email": order.email,
        "status": order.status,
        "total": order.total,
        "currency": order.currency,
        "refunded_amount": order.refunded_amount,
        "lines": tuple(_line(line) for line in order.lines),
    }


def _line(line: Line) -> OrderLine:
    return OrderLine(
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        unit_price=line.unit_price,
        total=line.total,
        status=line.status,
        product_id=line.product_id,
        seller_id=line.seller_id,
    )
