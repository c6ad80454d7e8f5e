"""Rows besides the order itself: what a saga carries with it, and what one transaction is going to write."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec

from careforall.contracts.addresses import Address
from careforall.contracts.payments import Method
from careforall.contracts.pricing import Explanation
from careforall.kit.outbox import Outgoing
from careforall.orders.domain import Amounts, Fact, Line, Order, ReturnLine, Step
from careforall.orders.saga_words import Saga

LogStatus = Literal["STARTED", "COMPLETED", "FAILED", "COMPENSATED"]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a SKU somebody wants."""

    sku: str
    quantity: int


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """Something the buyer should know, with a stable code and what it is about."""

    code: str
    message: str
    subject: str = ""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """A means of payment by its gateway's token; `key` tells one try to pay from the next."""

    method: Method
    token: str
    key: str


class Sale(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a saga is about: carried from step to step, so that whoever takes it over knows all of it."""

    order_id: UUID
    intent_id: UUID
    user_id: UUID
    email: str = ""
    gateway: str = "simulator"
    cart_id: UUID | None = None
    cart_holders: tuple[UUID, ...] = ()
    """Under which inventory holds goods for the cart since they were put in (AT_CART), or for checkouts this one replaces."""
    late: bool = False
    """All of its goods are held when they are paid (AT_PAYMENT)."""
    wanted: tuple[Wanted, ...] = ()
    coupons: tuple[str, ...] = ()
    shipping_address: Address | None = None
    billing_address: Address | None = None
    order_number: str = ""
    lines: tuple[Line, ...] = ()
    amounts: Amounts | None = None
    explanation: tuple[Explanation, ...] = ()
    notices: tuple[Notice, ...] = ()
    held_until: datetime | None = None
    locked_until: datetime | None = None
    delivery_days: int | None = None
    pay_until: datetime | None = None
    """Until when the order can be paid."""
    short: tuple[str, ...] = ()
    """SKUs of which too little was left."""
    card: Card | None = None
    card_key: str = ""
    """Whose outcome `decline` is."""
    decline: str = ""
    redirect_url: str = ""
    holder_id: UUID | None = None
    """Who held the stock that comes back: the saga that sold it."""
    refund_amount: Decimal | None = None
    refund_reason: str = ""
    return_id: UUID | None = None
    back: tuple[ReturnLine, ...] = ()
    refunded: Decimal = Decimal(0)
    refund_pending: bool = False
    went_back: Decimal | None = None
    """What the refund sent back by itself; None where that is what was asked for, or not sent by a gateway."""
    correlation_id: str = ""
    traceparent: str | None = None


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A saga as stored: where it is, what it is about, and the marks by which only one drives it."""

    saga: Saga
    sale: Sale
    epoch: int = 1
    version: int = 0
    """0 before it is stored."""
    logged: int = 0
    """How many steps its log has."""
    tries: int = 0
    error: str = ""
    request_hash: bytes | None = None
    created_at: datetime | None = None


class Logged(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a saga's log."""

    step: str
    attempt: int
    status: LogStatus
    data: str = ""


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One step of a saga to be written, all of it or nothing."""

    id: UUID
    before: Run
    after: Run
    lease: float | None
    """Seconds for which nobody else looks at it; None once it has ended."""
    logs: tuple[Logged, ...] = ()
    order: Order | None = None
    """A new order."""
    facts: tuple[Fact, ...] = ()
    events: tuple[Outgoing, ...] = ()
    refunded_return: UUID | None = None
    """The return whose money went back by this."""
    told_at: datetime | None = None
    """When its order was placed, where that is told later."""

    @property
    def is_plain(self) -> bool:
        """Whether it changes nothing but its saga."""
        return self.order is None and not self.facts and self.refunded_return is None


class Changes:
    """Everything one transaction is going to write, collected so that it takes one statement."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.steps: list[Step] = []
        self.outbox: list[Outgoing] = []


def columns_of(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """Return rows as parallel lists for `unnest`."""
    return [[getattr(row, name) for row in rows] for name in names]
