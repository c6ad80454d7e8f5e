"""Rules of orders without I/O: states and steps, line statuses, amounts, the order number, what may be sent back."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.addresses import Address
from careforall.contracts.orders import LineStatus, OrderStatus
from careforall.kit import money
from careforall.orders.errors import IllegalTransition, NotReturnable

STEPS: Mapping[OrderStatus, frozenset[OrderStatus]] = {
    "PENDING": frozenset({"CONFIRMED", "FAILED", "CANCELLED"}),
    "CONFIRMED": frozenset({"PROCESSING", "CANCELLED"}),
    "PROCESSING": frozenset({"SHIPPED", "CANCELLED"}),
    "SHIPPED": frozenset({"DELIVERED", "RETURNED"}),
    "DELIVERED": frozenset({"RETURNED"}),
    "RETURNED": frozenset({"REFUNDED"}),
    "FAILED": frozenset(),
    "CANCELLED": frozenset(),
    "REFUNDED": frozenset(),
}
"""The state machine of an order; the database enforces the same steps."""

_LINES: Mapping[OrderStatus, LineStatus] = {
    "CONFIRMED": "CONFIRMED",
    "SHIPPED": "SHIPPED",
    "DELIVERED": "DELIVERED",
    "FAILED": "CANCELLED",
    "CANCELLED": "CANCELLED",
    "RETURNED": "RETURNED",
}
"""What a step of the order makes of its lines; other steps leave them alone."""

PAID: frozenset[OrderStatus] = frozenset({"CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "RETURNED", "REFUNDED"})
ReturnStatus = Literal["PENDING", "APPROVED", "REJECTED", "REFUNDED"]
ReturnReason = Literal["DAMAGED", "WRONG_ITEM", "NOT_AS_DESCRIBED", "CHANGED_MIND", "OTHER"]
CONDITION_RULES: Mapping[ReturnReason, str] = {
    "DAMAGED": "as it arrived, with a picture of the damage",
    "WRONG_ITEM": "unused, in the parcel it came in",
    "NOT_AS_DESCRIBED": "as it arrived",
    "CHANGED_MIND": "unused and complete, in its own packing",
    "OTHER": "unused and complete, in its own packing",
}


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """What is sold under a SKU, as catalog last told."""

    sku: str
    product_id: UUID
    seller_id: UUID | None
    name: str
    price: Decimal
    currency: str
    active: bool
    sold_out: bool
    """Staff says so, whatever lies on the shelf; it is not active meanwhile."""
    shippable: bool
    max_per_order: int
    reservation_policy: str
    version: int


class Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of an order. `total` is what all of it costs, after discounts and with its tax."""

    number: int
    sku: str
    product_id: UUID | None
    seller_id: UUID | None
    name: str
    quantity: int
    unit_price: Decimal
    total: Decimal
    returned: int = 0
    status: LineStatus = "PENDING"


class Amounts(msgspec.Struct, frozen=True, kw_only=True):
    """What an order costs. The lines and the shipping add up to the total."""

    currency: str
    subtotal: Decimal
    discount: Decimal = Decimal(0)
    shipping: Decimal = Decimal(0)
    tax: Decimal = Decimal(0)
    total: Decimal


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as stored, with its lines."""

    id: UUID
    order_number: str
    saga_id: UUID
    intent_id: UUID
    user_id: UUID
    email: str
    cart_id: UUID | None
    status: OrderStatus
    currency: str
    subtotal: Decimal
    discount: Decimal
    shipping: Decimal
    tax: Decimal
    total: Decimal
    refunded_amount: Decimal
    gateway: str
    paid_by: str
    shipping_address: Address | None
    billing_address: Address | None
    carrier: str
    tracking: str
    reason: str
    version: int
    correlation_id: str
    traceparent: str | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    confirmed_at: datetime | None
    delivered_at: datetime | None
    erased_at: datetime | None = None
    """When its buyer was forgotten: mail and addresses are gone."""
    lines: tuple[Line, ...] = ()


class Fact(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to an order: a state it is now in, or money that went back in all."""

    order_id: UUID
    to: OrderStatus | None = None
    cause: str
    reason: str = ""
    paid_by: str = ""
    total_refunded: Decimal | None = None
    carrier: str = ""
    tracking: str = ""
    returned: Mapping[str, int] = {}
    """How much of which SKU came back."""
    announced: bool = False
    """Its payment may begin: tell of it, and until when."""
    expires_at: datetime | None = None
    amounts: Amounts | None = None
    """What it costs by now, while it waits for its money."""
    lines: tuple[Line, ...] = ()
    sellers: UUID | None = None
    """Only this seller's lines left the house."""
    at: datetime | None = None
    """When it happened, where that is told later; else it is the moment in which it is written."""


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded step of an order, with its cause."""

    order: Order
    """The order after the step."""
    from_status: OrderStatus
    fact: Fact


class ReturnLine(msgspec.Struct, frozen=True, kw_only=True):
    """How much of one SKU comes back."""

    sku: str
    quantity: int


class Return(msgspec.Struct, frozen=True, kw_only=True):
    """Something that the buyer wants to send back."""

    id: UUID
    order_id: UUID
    status: ReturnStatus
    reason: ReturnReason
    note: str
    condition_rule: str
    label: str
    lines: tuple[ReturnLine, ...]
    amount: Decimal
    decided_by: UUID | None = None
    decision_note: str = ""
    version: int = 1
    created_at: datetime | None = None


def order_number(saga_id: UUID, year: int) -> str:
    """Return the number people write: a repeat of the saga cannot make a second one."""
    digest = base64.b32encode(hashlib.sha256(saga_id.bytes).digest()).decode()
    return f"ORD-{year}-{digest[:10]}"


def walk(order: Order, fact: Fact) -> list[Step]:
    """Return the steps from an order to what a fact says, walking those between; none where it says nothing new.

    Raises:
        IllegalTransition: There is no way there.
    """
    if fact.to is None:
        amount = _apart_from_state(order, fact)
        return [Step(order=amount, from_status=order.status, fact=fact)] if amount is not order else []
    if fact.to == order.status:
        return []
    steps: list[Step] = []
    for status in path(order.status, fact.to):
        before = steps[-1].order if steps else order
        steps.append(Step(order=_moved(before, status, fact, last=status == fact.to), from_status=before.status, fact=fact))
    return steps


def path(start: OrderStatus, end: OrderStatus) -> tuple[OrderStatus, ...]:
    """Return the shortest walk between two states.

    Raises:
        IllegalTransition: There is none, or it would pass through an end that is not meant.
    """
    if end in STEPS[start]:
        return (end,)
    if (start, end) == ("CONFIRMED", "SHIPPED"):
        return ("PROCESSING", "SHIPPED")
    raise IllegalTransition(f"An order cannot go from {start} to {end}.", status_of_order=start)


def _moved(order: Order, status: OrderStatus, fact: Fact, *, last: bool) -> Order:
    line_status = _LINES.get(status)
    lines = tuple(_line_moved(line, line_status, fact) for line in order.lines) if line_status else order.lines
    changed = msgspec.structs.replace(order, status=status, version=order.version + 1, lines=lines)
    if status == "CONFIRMED":
        changed = msgspec.structs.replace(changed, confirmed_at=order.confirmed_at or fact.at)
    if not last:
        return changed
    return msgspec.structs.replace(
        changed,
        reason=fact.reason or order.reason,
        paid_by=fact.paid_by or order.paid_by,
        carrier=fact.carrier or order.carrier,
        tracking=fact.tracking or order.tracking,
        refunded_amount=max(order.refunded_amount, min(fact.total_refunded or Decimal(0), order.total)),
    )


def _line_moved(line: Line, status: LineStatus, fact: Fact) -> Line:
    if line.status in {"CANCELLED", "RETURNED"} or (status == "SHIPPED" and line.status == "DELIVERED"):
        return line
    back = fact.returned.get(line.sku, 0)
    return msgspec.structs.replace(line, status=status, returned=min(line.quantity, line.returned + back))


def _apart_from_state(order: Order, fact: Fact) -> Order:
    """Return the order with what a fact says besides states, or the very same where that is known."""
    refunded = max(order.refunded_amount, min(fact.total_refunded or Decimal(0), order.total))
    changed = order
    if refunded != order.refunded_amount:
        changed = msgspec.structs.replace(changed, refunded_amount=refunded)
    if fact.returned:
        changed = msgspec.structs.replace(changed, lines=tuple(_line_back(line, fact.returned) for line in order.lines))
    if fact.carrier:
        changed = _shipped_in_part(changed, fact)
    if fact.announced and order.expires_at is None:
        changed = msgspec.structs.replace(changed, expires_at=fact.expires_at)
    return changed if changed is order else msgspec.structs.replace(changed, version=order.version + 1)


def _line_back(line: Line, returned: Mapping[str, int]) -> Line:
    back = min(line.quantity, line.returned + returned.get(line.sku, 0))
    return msgspec.structs.replace(line, returned=back, status="RETURNED" if back == line.quantity else line.status)


def _shipped_in_part(order: Order, fact: Fact) -> Order:
    lines = tuple(
        msgspec.structs.replace(line, status="SHIPPED") if line.seller_id == fact.sellers and line.status == "CONFIRMED" else line
        for line in order.lines
    )
    return msgspec.structs.replace(order, lines=lines, carrier=fact.carrier, tracking=fact.tracking)


def ships_all(order: Order, seller: UUID | None, *, whole: bool) -> bool:
    """Whether nothing is left to be shipped once these lines are; `whole` ships every seller's."""
    return whole or all(line.status != "CONFIRMED" or line.seller_id == seller for line in order.lines)


def may_return(order: Order, now: datetime, days: int) -> bool:
    """Whether the window in which an order can be sent back is open."""
    if order.status == "SHIPPED":
        return True
    return order.status == "DELIVERED" and order.delivered_at is not None and now <= order.delivered_at + timedelta(days=days)


def return_amount(order: Order, lines: Sequence[ReturnLine], pending: Mapping[str, int]) -> Decimal:
    """Return what goes back for lines: their share of what each line cost; shipping, with its tax, for what comes back last.

    Args:
        order: The order.
        lines: What comes back.
        pending: What other returns, not yet decided, already claim.

    Raises:
        NotReturnable: Not in the order, or not that many left.
    """
    of_sku = {line.sku: line for line in order.lines}
    amount = Decimal(0)
    for back in lines:
        line = of_sku.get(back.sku)
        left = line.quantity - line.returned - pending.get(back.sku, 0) if line else 0
        if line is None or back.quantity > left:
            raise NotReturnable(f"At most {left} of {back.sku} can be returned.", sku=back.sku, left=left)
        amount += _share(line, line.returned + pending.get(back.sku, 0), back.quantity, order.currency)
    if _all_back(order, lines, pending):
        amount += order.total - sum((line.total for line in order.lines), Decimal(0))
    return min(amount, order.total - order.refunded_amount)


def _share(line: Line, earlier: int, quantity: int, currency: str) -> Decimal:
    """Return the part of a line's price after those that came back earlier: all parts together are exactly the line."""
    places = Decimal(1).scaleb(-money.exponent(currency))
    before = (line.total * earlier / line.quantity).quantize(places)
    after = (line.total * (earlier + quantity) / line.quantity).quantize(places)
    return after - before


def _all_back(order: Order, lines: Sequence[ReturnLine], pending: Mapping[str, int]) -> bool:
    back = {line.sku: line.quantity + pending.get(line.sku, 0) for line in lines}
    return all(line.returned + back.get(line.sku, pending.get(line.sku, 0)) == line.quantity for line in order.lines)
