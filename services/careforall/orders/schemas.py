"""HTTP shapes of checkouts, orders and returns. Input forbids unknown fields; amounts are decimal strings."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.contracts.addresses import Address
from careforall.contracts.orders import LineStatus, OrderStatus
from careforall.contracts.payments import Method
from careforall.contracts.pricing import Explanation
from careforall.kit import money
from careforall.orders.domain import Line, Order, Return, ReturnLine, ReturnReason, ReturnStatus
from careforall.orders.records import Notice, Run
from careforall.orders.saga_words import CheckoutState, checkout_state

AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]
Sku = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"\A[!-~]+\Z")]
StatusIn = OrderStatus | Literal["PAID"]
"""A state as callers name it: their word PAID is our CONFIRMED."""
Quantity = Annotated[int, Meta(ge=1, le=1_000_000_000)]
Key = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"\A[ -~]+\Z")]


class NewCheckout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Go to the till with a cart."""

    cart_id: UUID
    shipping_address_id: UUID
    billing_address_id: UUID | None = None


class PayCheckout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pay; without a token on the gateway's own page. The token is the gateway's name for a card, never its number."""

    payment_method: Method
    idempotency_key: Key
    payment_token: Annotated[str, Meta(max_length=200)] = ""


class OrderedItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a SKU."""

    sku: Sku
    qty: Quantity


class NewOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Order directly, without a cart; the same `client_token` is the same order."""

    items: Annotated[list[OrderedItem], Meta(min_length=1, max_length=100)]
    client_token: Key | None = None


class StatusPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step by staff; PAID means CONFIRMED: it was paid in another way."""

    status: StatusIn
    version: int | UnsetType = UNSET


class Cancelling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an order is called off."""

    reason: Annotated[str, Meta(min_length=1, max_length=200)]


class Shipping(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """With whom it left."""

    carrier: Annotated[str, Meta(min_length=1, max_length=100)]
    tracking: Annotated[str, Meta(min_length=1, max_length=100)]


class ReturnedItem(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of a SKU comes back."""

    sku: Sku
    quantity: Quantity


class NewReturn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ask to send something back; without items all of it."""

    reason: ReturnReason
    items: Annotated[list[ReturnedItem], Meta(max_length=100)] = []
    note: Annotated[str, Meta(max_length=1000)] = ""


class Decision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What staff says to a return."""

    note: Annotated[str, Meta(max_length=500)] = ""


class LineOut(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order."""

    sku: str
    name: str
    quantity: int
    qty: int
    returned: int
    unit_price: AmountOut
    total: AmountOut
    status: LineStatus
    product_id: UUID | None
    seller_id: UUID | None


class ExplanationOut(msgspec.Struct, frozen=True, kw_only=True):
    """A price rule that was looked at: applied or not, and why."""

    rule: str
    applied: bool
    reason: str
    amount: AmountOut
    sku: str


class CheckoutOut(msgspec.Struct, frozen=True, kw_only=True):
    """A checkout: what it costs, until when that holds, and how it stands."""

    checkout_id: UUID
    state: CheckoutState
    items: list[LineOut]
    subtotal: AmountOut | None
    discount: AmountOut | None
    shipping: AmountOut | None
    tax: AmountOut | None
    total: AmountOut | None
    currency: str | None
    expires_at: datetime | None
    estimated_delivery_days: int | None
    available_payment_methods: list[Method]
    notices: list[Notice]
    explanation: list[ExplanationOut]
    order_id: UUID | None
    order_number: str | None
    pay_url: str | None


class PaidOut(msgspec.Struct, frozen=True, kw_only=True):
    """How paying stands; with 202 ask `status_url` how it ends, or open `pay_url` to pay there."""

    order_id: UUID | None
    order_number: str | None
    status: OrderStatus
    payment_status: str
    total: AmountOut | None
    currency: str | None
    checkout_id: UUID
    status_url: str
    pay_url: str | None
    notices: list[Notice]


class OrderMade(msgspec.Struct, frozen=True, kw_only=True):
    """An order that waits for its money; 202: for its stock too."""

    id: UUID
    order_number: str
    status: OrderStatus
    total: AmountOut
    currency: str
    version: int
    payment_intent_id: UUID
    pay_url: str
    expires_at: datetime | None


class TransitionOut(msgspec.Struct, frozen=True, kw_only=True):
    """One transition of an order."""

    from_status: OrderStatus | None = msgspec.field(name="from")
    to_status: OrderStatus = msgspec.field(name="to")
    cause: str
    refunded_amount: AmountOut
    version: int
    time: datetime


class PaymentOut(msgspec.Struct, frozen=True, kw_only=True):
    """How the order is paid."""

    intent_id: UUID
    pay_url: str
    gateway: str
    paid_by: str
    refunded_amount: AmountOut


class ShipmentOut(msgspec.Struct, frozen=True, kw_only=True):
    """With whom it left."""

    carrier: str
    tracking: str


class OrderOut(msgspec.Struct, frozen=True, kw_only=True):
    """An order as its buyer and staff see it."""

    id: UUID
    order_number: str
    user_id: UUID
    status: OrderStatus
    items: list[LineOut]
    subtotal: AmountOut
    discount: AmountOut
    shipping: AmountOut
    tax: AmountOut
    total: AmountOut
    currency: str
    refunded_amount: AmountOut
    payment: PaymentOut
    shipment: ShipmentOut | None
    shipping_address: Address | None
    reason: str
    version: int
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    erased_at: datetime | None = None
    """When its buyer, who had asked to be forgotten, was taken out of it."""
    transitions: list[TransitionOut] = []
    """Every step it took, oldest first; empty in lists."""


class OrdersOut(msgspec.Struct, frozen=True, kw_only=True):
    """One page of orders; pages count from 1, or one follows another by `next_cursor`."""

    orders: list[OrderOut]
    total: int
    page: int
    limit: int
    pages: int
    next_cursor: str | None
    """Leads on from the last order shown, whatever has happened to those before it; pages by number move when orders do."""


class ReturnOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something that is to be sent back, with what to do."""

    id: UUID
    order_id: UUID
    status: ReturnStatus
    reason: ReturnReason
    note: str
    items: list[ReturnLine]
    amount: AmountOut
    currency: str
    condition_rule: str
    label: str
    instructions: str
    decision_note: str
    created_at: datetime | None


def plain_status(asked: StatusIn) -> OrderStatus:
    """Return a state by our own word for it."""
    return "CONFIRMED" if asked == "PAID" else asked


def line_out(line: Line, currency: str) -> LineOut:
    """Show a line."""
    return LineOut(
        sku=line.sku,
        name=line.name,
        quantity=line.quantity,
        qty=line.quantity,
        returned=line.returned,
        unit_price=money.show(line.unit_price, currency),
        total=money.show(line.total, currency),
        status=line.status,
        product_id=line.product_id,
        seller_id=line.seller_id,
    )


def checkout_out(run: Run) -> CheckoutOut:
    """Show a checkout."""
    sale, amounts = run.sale, run.sale.amounts
    until = min((one for one in (sale.held_until, sale.locked_until) if one is not None), default=None)
    shown = (
        {}
        if amounts is None
        else {
            name: money.show(getattr(amounts, name), amounts.currency)
            for name in ("subtotal", "discount", "shipping", "tax", "total")
        }
    )
    return CheckoutOut(
        checkout_id=run.saga.id,
        state=checkout_state(run.saga),
        items=[line_out(line, amounts.currency) for line in sale.lines] if amounts else [],
        **{name: shown.get(name) for name in ("subtotal", "discount", "shipping", "tax", "total")},
        currency=amounts.currency if amounts else None,
        expires_at=sale.pay_until or until,
        estimated_delivery_days=sale.delivery_days,
        available_payment_methods=["CARD", "PAYPAL", "UPI", "WALLET"],
        notices=list(sale.notices),
        explanation=[_explained(one, amounts.currency) for one in sale.explanation] if amounts else [],
        order_id=sale.order_id if sale.order_number else None,
        order_number=sale.order_number or None,
        pay_url=f"/pay/{sale.intent_id}" if run.saga.stage == "payer" else None,
    )


def _explained(one: Explanation, currency: str) -> ExplanationOut:
    return ExplanationOut(
        rule=one.rule, applied=one.applied, reason=one.reason, amount=money.show(one.amount, currency), sku=one.sku
    )


def paid_out(run: Run) -> PaidOut:
    """Show how paying stands."""
    sale, amounts, saga = run.sale, run.sale.amounts, run.saga
    confirmed = saga.has("capture") and saga.settled and not saga.ending
    held = "AUTHORIZED" if saga.has("authorise") else "PENDING"
    return PaidOut(
        order_id=sale.order_id if sale.order_number else None,
        order_number=sale.order_number or None,
        status="CONFIRMED" if confirmed else "PENDING",
        payment_status="CAPTURED" if saga.has("capture") else held,
        total=money.show(amounts.total, amounts.currency) if amounts else None,
        currency=amounts.currency if amounts else None,
        checkout_id=saga.id,
        status_url=f"/api/v1/checkout/{saga.id}",
        pay_url=sale.redirect_url or f"/pay/{sale.intent_id}" if saga.stage == "payer" else None,
        notices=list(sale.notices),
    )


def order_made(order: Order) -> OrderMade:
    """Show a new order."""
    return OrderMade(
        id=order.id,
        order_number=order.order_number,
        status=order.status,
        total=money.show(order.total, order.currency),
        currency=order.currency,
        version=order.version,
        payment_intent_id=order.intent_id,
        pay_url=f"/pay/{order.intent_id}",
        expires_at=order.expires_at,
    )


def order_out(order: Order, transitions: list[TransitionOut] | None = None) -> OrderOut:
    """Show an order."""
    amounts = {
        name: money.show(getattr(order, name), order.currency) for name in ("subtotal", "discount", "shipping", "tax", "total")
    }
    refunded = money.show(order.refunded_amount, order.currency)
    return OrderOut(
        id=order.id,
        order_number=order.order_number,
        user_id=order.user_id,
        status=order.status,
        items=[line_out(line, order.currency) for line in order.lines],
        **amounts,
        currency=order.currency,
        refunded_amount=refunded,
        payment=PaymentOut(
            intent_id=order.intent_id,
            pay_url=f"/pay/{order.intent_id}",
            gateway=order.gateway,
            paid_by=order.paid_by,
            refunded_amount=refunded,
        ),
        shipment=ShipmentOut(carrier=order.carrier, tracking=order.tracking) if order.carrier else None,
        shipping_address=order.shipping_address,
        reason=order.reason,
        version=order.version,
        expires_at=order.expires_at,
        created_at=order.created_at,
        updated_at=order.updated_at,
        erased_at=order.erased_at,
        transitions=transitions or [],
    )


def return_out(found: Return, currency: str) -> ReturnOut:
    """Show a return."""
    return ReturnOut(
        id=found.id,
        order_id=found.order_id,
        status=found.status,
        reason=found.reason,
        note=found.note,
        items=list(found.lines),
        amount=money.show(found.amount, currency),
        currency=currency,
        condition_rule=found.condition_rule,
        label=found.label,
        instructions=f"Send it {found.condition_rule}, with the label {found.label}.",
        decision_note=found.decision_note,
        created_at=found.created_at,
    )
