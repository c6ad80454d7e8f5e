"""Carts and what changes them: frozen facts and pure functions."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec.structs import replace

from careforall.carts.errors import (
    CartCurrency,
    CartFull,
    CouponInactive,
    CouponNotInCart,
    CouponUnknown,
    ItemNotFound,
    OutOfStock,
    ProductInactive,
    UnknownSku,
)
from careforall.contracts.carts import CartState
from careforall.contracts.catalog import ReservationPolicy

MOST_ITEMS = 100
MOST_COUPONS = 5


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """Goods in a cart, with their price when they were put in."""

    id: UUID
    sku: str
    quantity: int
    price_at_addition: Decimal
    currency: str
    added_at: datetime


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """Stock that inventory holds for a cart under a holder of its own, so that each part can be given back by itself."""

    holder_id: UUID
    sku: str
    quantity: int
    until: datetime


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happened to the cart and is told until its next change."""

    code: str
    message: str
    sku: str = ""
    before: str | None = None
    now: str | None = None


class Cart(msgspec.Struct, frozen=True, kw_only=True):
    """A cart with all that is in it."""

    id: UUID
    user_id: UUID | None = None
    state: CartState = "ACTIVE"
    version: int = 0
    items: tuple[Item, ...] = ()
    coupons: tuple[str, ...] = ()
    holds: tuple[Hold, ...] = ()
    notes: tuple[Note, ...] = ()
    recent: tuple[UUID, ...] = ()
    """The last changes: one that is written again, as nobody knows whether it was committed, is not applied twice (rule 2)."""
    merged_into: UUID | None = None
    updated_at: datetime

    def item(self, item_id: UUID) -> Item:
        """Return an item.

        Raises:
            ItemNotFound: It is not, or no more, in the cart.
        """
        found = next((item for item in self.items if item.id == item_id), None)
        if found is None:
            raise ItemNotFound
        return found

    def held(self, sku: str) -> int:
        """Return how much inventory holds of a SKU for this cart."""
        return sum(hold.quantity for hold in self.holds if hold.sku == sku)


class Goods(msgspec.Struct, frozen=True, kw_only=True):
    """A SKU as it is sold now."""

    sku: str
    product_id: UUID
    name: str
    slug: str
    image_url: str
    attributes: dict[str, str]
    active: bool
    price: Decimal
    currency: str
    available: int | None
    max_per_order: int
    reservation_policy: ReservationPolicy


Shelf = Mapping[str, Goods]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a change is judged by: goods and coupons as they stand, the time, and an id for a new item."""

    shelf: Shelf
    coupons: Mapping[str, bool]
    """Whether each known coupon is active."""
    now: datetime
    new_id: UUID


class Add(msgspec.Struct, frozen=True, kw_only=True):
    """Put goods in, held already where their policy asks for it."""

    sku: str
    quantity: int
    hold: Hold | None = None

    def apply(self, cart: Cart, moment: Moment) -> Cart:
        """Return the cart with the goods in it."""
        goods = _sold(moment.shelf, self.sku, cart)
        present = next((item for item in cart.items if item.sku == self.sku), None)
        if present is None and len(cart.items) >= MOST_ITEMS:
            raise CartFull(f"A cart holds {MOST_ITEMS} different items.", limit=MOST_ITEMS)
        if goods.available is not None and goods.available <= 0 and self.hold is None:
            raise OutOfStock(skus=[self.sku])
        wanted = (present.quantity if present else 0) + self.quantity
        quantity, notes = limited(goods, wanted)
        item = present or Item(
            id=moment.new_id,
            sku=self.sku,
            quantity=quantity,
            price_at_addition=goods.price,
            currency=goods.currency,
            added_at=moment.now,
        )
        return _with(cart, replace(item, quantity=quantity), notes, self.hold, moment.now)


class SetQuantity(msgspec.Struct, frozen=True, kw_only=True):
    """Set how many of an item there are."""

    item_id: UUID
    quantity: int
    hold: Hold | None = None

    def apply(self, cart: Cart, moment: Moment) -> Cart:
        """Return the cart with so many of the item."""
        item = cart.item(self.item_id)
        goods = moment.shelf.get(item.sku)
        quantity, notes = (self.quantity, ()) if goods is None else limited(goods, self.quantity)
        return _with(cart, replace(item, quantity=quantity), notes, self.hold, moment.now)


class Remove(msgspec.Struct, frozen=True, kw_only=True):
    """Take an item out."""

    item_id: UUID

    def apply(self, cart: Cart, _: Moment) -> Cart:
        """Return the cart without the item."""
        item = cart.item(self.item_id)
        items = tuple(one for one in cart.items if one.id != item.id)
        return replace(cart, items=items, holds=tuple(hold for hold in cart.holds if hold.sku != item.sku), notes=())


class AddCoupon(msgspec.Struct, frozen=True, kw_only=True):
    """Put a coupon on."""

    code: str

    def apply(self, cart: Cart, moment: Moment) -> Cart:
        """Return the cart with the coupon on it."""
        if self.code in cart.coupons:
            return cart
        active = moment.coupons.get(self.code)
        if active is None:
            raise CouponUnknown
        if not active:
            raise CouponInactive
        if len(cart.coupons) >= MOST_COUPONS:
            raise CartFull(f"A cart holds {MOST_COUPONS} coupons.", limit=MOST_COUPONS)
        return replace(cart, coupons=(*cart.coupons, self.code), notes=())


class RemoveCoupon(msgspec.Struct, frozen=True, kw_only=True):
    """Take a coupon off."""

    code: str

    def apply(self, cart: Cart, _: Moment) -> Cart:
        """Return the cart without the coupon."""
        if self.code not in cart.coupons:
            raise CouponNotInCart
        return replace(cart, coupons=tuple(code for code in cart.coupons if code != self.code), notes=())


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """Take a guest's cart over."""

    guest_cart_id: UUID


Change = Add | SetQuantity | Remove | AddCoupon | RemoveCoupon


def merged(own: Cart, guest: Cart, shelf: Shelf) -> Cart:
    """Return one's own cart with a guest's goods: equal ones summed and capped, what is sold out or removed dropped and told."""
    items = {item.sku: item for item in own.items}
    notes: list[Note] = []
    for item in guest.items:
        goods = shelf.get(item.sku)
        currency = next((one.currency for one in items.values()), item.currency)
        full = item.sku not in items and len(items) >= MOST_ITEMS
        if reason := _dropped(goods, currency, held=guest.held(item.sku), full=full):
            notes.append(Note(code=reason, message=_DROPPED[reason], sku=item.sku))
            continue
        assert goods is not None
        mine = items.get(item.sku)
        quantity, capped = limited(goods, item.quantity + (mine.quantity if mine else 0))
        items[item.sku] = replace(mine or item, quantity=quantity)
        notes += capped
    coupons = tuple(dict.fromkeys((*own.coupons, *guest.coupons)))[:MOST_COUPONS]
    kept = tuple(hold for hold in guest.holds if hold.sku in items)
    return replace(own, items=tuple(items.values()), coupons=coupons, holds=(*own.holds, *kept), notes=tuple(notes))


def leftovers(cart: Cart, ordered: Mapping[str, int]) -> tuple[Item, ...]:
    """Return what was in a cart and is not in the order that came of it: it was put in after the buyer went to the till."""
    rest = (replace(item, quantity=item.quantity - ordered.get(item.sku, 0)) for item in cart.items)
    return tuple(item for item in rest if item.quantity > 0)


def still_held(cart: Cart, items: Sequence[Item]) -> tuple[Hold, ...]:
    """Return what inventory holds for a cart and is meant for its leftovers: of a SKU that was bought too, the newest holds."""
    lacking = {item.sku: item.quantity for item in items}
    kept: list[Hold] = []
    for hold in reversed(cart.holds):
        if lacking.get(hold.sku, 0) > 0:
            lacking[hold.sku] -= hold.quantity
            kept.append(hold)
    return tuple(reversed(kept))


def limited(goods: Goods, wanted: int) -> tuple[int, tuple[Note, ...]]:
    """Return how many one order may have, and a note where that is less."""
    if wanted <= goods.max_per_order:
        return wanted, ()
    message = f"at most {goods.max_per_order} in one order"
    note = Note(code="quantity_limited", message=message, sku=goods.sku, before=str(wanted), now=str(goods.max_per_order))
    return goods.max_per_order, (note,)


_DROPPED = {
    "dropped_removed": "it is not sold any more",
    "dropped_sold_out": "it is sold out",
    "dropped_currency": "it is sold in another currency",
    "dropped_full": "the cart is full",
}


def _dropped(goods: Goods | None, currency: str, *, held: int, full: bool) -> str:
    if goods is None or not goods.active:
        return "dropped_removed"
    if goods.available is not None and goods.available + held <= 0:
        return "dropped_sold_out"
    if goods.currency != currency:
        return "dropped_currency"
    return "dropped_full" if full else ""


def _sold(shelf: Shelf, sku: str, cart: Cart) -> Goods:
    goods = shelf.get(sku)
    if goods is None:
        raise UnknownSku
    if not goods.active:
        raise ProductInactive
    if any(item.currency != goods.currency for item in cart.items):
        raise CartCurrency
    return goods


def _with(cart: Cart, item: Item, notes: Sequence[Note], hold: Hold | None, now: datetime) -> Cart:
    """Return the cart with an item set, without holds that ran out and the newest ones that it does not need any more."""
    items = {one.id: one for one in cart.items} | {item.id: item}
    holds = [one for one in (*cart.holds, hold) if one is not None and one.until > now]
    return replace(cart, items=tuple(items.values()), holds=_needed(holds, item), notes=tuple(notes))


def _needed(holds: Sequence[Hold], item: Item) -> tuple[Hold, ...]:
    kept: list[Hold] = []
    covered = 0
    for hold in holds:
        if hold.sku == item.sku and covered >= item.quantity:
            continue
        covered += hold.quantity if hold.sku == item.sku else 0
        kept.append(hold)
    return tuple(kept)
