"""What integrators hear: the events that may leave the platform, and of each the fields that go with it.

An event is read as its public shape, and whatever the shape does not name falls away: a new field of an event stays inside until
somebody writes it here. Nothing here says who somebody is, opens anything, or is a text that people write about a case
(docs/decisions/0016).
"""

from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts import catalog, customers, donations, inventory, orders
from careforall.kit import money
from careforall.kit.envelope import Event


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign after the event."""

    campaign_id: UUID
    title: str
    goal: Decimal
    currency: str
    status: donations.CampaignStatus
    starts_at: datetime | None = None
    ends_at: datetime | None = None


class Donation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A gift after the event, without whose it is; of the times only the one that the event is about."""

    donation_id: UUID
    campaign_id: UUID
    campaign_title: str = ""
    amount: Decimal
    currency: str
    status: donations.DonationStatus
    refunded_amount: Decimal
    disputed_amount: Decimal
    created_at: datetime | None = None
    completed_at: datetime | None = None
    refunded_at: datetime | None = None
    disputed_at: datetime | None = None


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line of an order."""

    sku: str
    name: str
    quantity: int
    unit_price: Decimal
    total: Decimal
    status: orders.LineStatus
    product_id: UUID | None = None


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An order after the event, without who bought and where it goes."""

    order_id: UUID
    order_number: str
    status: orders.OrderStatus
    total: Decimal
    currency: str
    refunded_amount: Decimal
    lines: tuple[OrderLine, ...]
    created_at: datetime | None = None
    confirmed_at: datetime | None = None


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product after the event, as the shop shows it."""

    product_id: UUID
    slug: str
    name: str
    description: str = ""
    brand: str = ""
    category: str = ""
    category_path: tuple[str, ...] = ()
    status: catalog.ProductStatus
    base_price: Decimal
    sale_price: Decimal | None = None
    currency: str
    attributes: dict[str, str] = {}
    variants: tuple[catalog.Variant, ...] = ()
    image_url: str = ""
    rating_average: Decimal = Decimal(0)
    rating_count: int = 0
    shippable: bool = True
    created_at: datetime


class Stock(msgspec.Struct, frozen=True, kw_only=True):
    """Stock of a SKU over all warehouses after the event."""

    sku: str
    on_hand: int
    reserved: int
    available: int


class LowStock(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a SKU in a warehouse."""

    sku: str
    warehouse: str
    available: int
    threshold: int


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """Which customer; whoever may know more asks for it with rights of their own."""

    customer_id: UUID


PUBLIC: dict[type[Event], type[msgspec.Struct]] = {
    donations.CampaignCreated: Campaign,
    donations.CampaignUpdated: Campaign,
    donations.CampaignEnded: Campaign,
    donations.DonationCreated: Donation,
    donations.DonationCompleted: Donation,
    donations.DonationFailed: Donation,
    donations.DonationRefunded: Donation,
    donations.DonationDisputed: Donation,
    orders.OrderCreated: Order,
    orders.OrderConfirmed: Order,
    orders.OrderFailed: Order,
    orders.OrderProcessing: Order,
    orders.OrderShipped: Order,
    orders.OrderDelivered: Order,
    orders.OrderCancelled: Order,
    orders.OrderReturned: Order,
    orders.OrderRefunded: Order,
    catalog.ProductCreated: Product,
    catalog.ProductUpdated: Product,
    catalog.ProductRemoved: Product,
    inventory.StockChanged: Stock,
    inventory.LowStock: LowStock,
    customers.CustomerCreated: Customer,
    customers.CustomerUpdated: Customer,
    customers.CustomerDeleted: Customer,
}
"""The public shape of each event that may leave. Snapshots tell nothing new and stay inside."""

SUBJECTS = frozenset(event.SUBJECT for event in PUBLIC)
"""The types that integrators can ask for."""

_decoders = {event.SUBJECT: msgspec.json.Decoder(shape) for event, shape in PUBLIC.items()}
_encode = msgspec.json.Encoder(decimal_format="string").encode
_AMOUNTS = frozenset({"goal", "amount", "total", "unit_price", "refunded_amount", "disputed_amount", "base_price", "sale_price"})


def shown(event_type: str, payload: bytes | msgspec.Raw) -> bytes:
    """Return what of an event's payload may leave.

    Raises:
        KeyError: This event may not leave at all.
    """
    return _encode(_written(_decoders[event_type].decode(payload)))


def _written(told: Any) -> Any:
    """Return it with the currency's decimal places in every amount, however many the tables keep."""
    try:
        places = money.exponent(getattr(told, "currency", ""))
    except money.MoneyError:  # nothing with a price, or money that we cannot write: better told as it is than not at all
        return told
    told = _in_places(told, places)
    if isinstance(told, Order):
        return msgspec.structs.replace(told, lines=tuple(_in_places(line, places) for line in told.lines))
    return told


def _in_places(told: Any, places: int) -> Any:
    amounts = _AMOUNTS.intersection(told.__struct_fields__)
    return msgspec.structs.replace(told, **{name: _places(getattr(told, name), places) for name in amounts})


def _places(amount: Decimal | None, places: int) -> Decimal | None:
    return None if amount is None else amount.quantize(Decimal(1).scaleb(-places))
