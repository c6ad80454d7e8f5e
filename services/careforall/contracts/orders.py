"""Events of the orders service. The aggregate is the order; the state is absolute (rule 5)."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

import msgspec

from careforall.kit.envelope import Event

OrderStatus = Literal["PENDING", "CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "FAILED", "CANCELLED", "RETURNED", "REFUNDED"]
LineStatus = Literal["PENDING", "CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED", "RETURNED"]


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order."""

    sku: str
    name: str
    quantity: int
    unit_price: Decimal
    total: Decimal
    status: LineStatus
    product_id: UUID | None = None
    seller_id: UUID | None = None


class CheckoutInitiated(Event, frozen=True, kw_only=True):
    """A buyer went to the till; the aggregate is the checkout, which is its saga."""

    SUBJECT: ClassVar[str] = "checkout.initiated"

    checkout_id: UUID
    saga_id: UUID
    user_id: UUID
    cart_id: UUID
    items: tuple[OrderLine, ...]
    total: Decimal
    currency: str
    country: str = ""


class _Order(Event, frozen=True, kw_only=True):
    order_id: UUID
    order_number: str
    intent_id: UUID
    user_id: UUID
    saga_id: UUID | None = None
    cart_id: UUID | None = None
    email: str = ""
    status: OrderStatus
    total: Decimal
    currency: str
    refunded_amount: Decimal = Decimal(0)
    lines: tuple[OrderLine, ...]


class OrderCreated(_Order, frozen=True, kw_only=True):
    """An order waits for its money; payments makes its intent, of this id and amount."""

    SUBJECT: ClassVar[str] = "orders.created"

    gateway: str = "simulator"
    manual_capture: bool = True
    """The money is held first and taken when the stock is confirmed (rule 15)."""
    expires_at: datetime
    created_at: datetime


class OrderConfirmed(_Order, frozen=True, kw_only=True):
    """Paid, and the stock is its own."""

    SUBJECT: ClassVar[str] = "orders.confirmed"

    confirmed_at: datetime


class OrderFailed(_Order, frozen=True, kw_only=True):
    """Ended without money."""

    SUBJECT: ClassVar[str] = "orders.failed"

    reason: str = ""


class OrderProcessing(_Order, frozen=True, kw_only=True):
    """Somebody packs it."""

    SUBJECT: ClassVar[str] = "orders.processing"


class OrderShipped(_Order, frozen=True, kw_only=True):
    """It left the house."""

    SUBJECT: ClassVar[str] = "orders.shipped"

    carrier: str = ""
    tracking: str = ""


class OrderDelivered(_Order, frozen=True, kw_only=True):
    """It arrived."""

    SUBJECT: ClassVar[str] = "orders.delivered"


class OrderCancelled(_Order, frozen=True, kw_only=True):
    """Called off; a paid one is refunded."""

    SUBJECT: ClassVar[str] = "orders.cancelled"

    reason: str = ""


class OrderReturned(_Order, frozen=True, kw_only=True):
    """Some or all of it came back and was accepted."""

    SUBJECT: ClassVar[str] = "orders.returned"


class OrderRefunded(_Order, frozen=True, kw_only=True):
    """Money went back, partly or all; `refunded_amount` is the total so far."""

    SUBJECT: ClassVar[str] = "orders.refunded"


class OrderSnapshot(_Order, frozen=True, kw_only=True):
    """The present state, sent again for projections; nobody writes to buyers because of it."""

    SUBJECT: ClassVar[str] = "orders.snapshot"


ORDER_STATES = "query.orders.states"
"""Request subject: in which state the orders of some payment intents are."""


class OrderStatesAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Whose orders are asked about."""

    intent_ids: list[UUID]


class OrderStates(msgspec.Struct, frozen=True, kw_only=True):
    """The states by intent; an intent that no order names is left out."""

    states: dict[UUID, OrderStatus]


PAYABLE = "query.orders.payable"
"""Request subject: `PayableAsked` to `Payable`: what is to be paid for an order that payments has not heard of yet."""


class PayableAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which order, and who wants to pay: another's order is not found."""

    order_id: UUID
    user_id: UUID


class Payable(msgspec.Struct, frozen=True, kw_only=True):
    """What an order asks for; `status` is None where there is no such order of this user."""

    status: OrderStatus | None = None
    intent_id: UUID | None = None
    order_number: str = ""
    amount: Decimal = Decimal(0)
    currency: str = ""
    gateway: str = ""
    expires_at: datetime | None = None
    """Until when it can be paid; None while its stock is not reserved yet."""
