"""A cart as its owner sees it: with the prices and the stock of now, and a notice for all that is not as it was; pure."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from careforall.carts.domain import Cart, Goods, Hold, Item, Shelf
from careforall.carts.schemas import Availability, CartOut, ItemOut, NoticeOut
from careforall.kit import money

_PLAIN = "EUR"
"""How an amount of nothing is written while there are no goods to say in which currency."""


def shown(cart: Cart, shelf: Shelf, *, now: datetime, days: int) -> CartOut:
    """Return a cart with what is known of its goods.

    Args:
        cart: The cart.
        shelf: Goods by SKU; those that are missing are not sold.
        now: The time.
        days: Days after its last change at which the cart ends.
    """
    currency = cart.items[0].currency if cart.items else ""
    holds = {item.sku: [hold for hold in cart.holds if hold.sku == item.sku] for item in cart.items}
    items = [_item(item, shelf.get(item.sku), holds[item.sku], now) for item in cart.items]
    subtotal = sum((Decimal(item.line_total) for item in items), Decimal(0))
    told = [
        NoticeOut(code=note.code, message=note.message, sku=note.sku, before=note.before, now=note.now) for note in cart.notes
    ]
    return CartOut(
        cart_id=cart.id,
        items=items,
        subtotal=money.show(subtotal, currency or _PLAIN),
        currency=currency,
        item_count=sum(item.quantity for item in items),
        coupons=list(cart.coupons),
        notices=told + [notice for item in cart.items for notice in _notices(item, shelf.get(item.sku), holds, now)],
        version=cart.version,
        expires_at=cart.updated_at + timedelta(days=days),
    )


def nothing() -> CartOut:
    """Return the cart of somebody who has none yet."""
    return CartOut(
        cart_id=None,
        items=[],
        subtotal=money.show(Decimal(0), _PLAIN),
        currency="",
        item_count=0,
        coupons=[],
        notices=[],
        version=0,
    )


def _item(item: Item, goods: Goods | None, holds: Sequence[Hold], now: datetime) -> ItemOut:
    sold = goods if goods is not None and goods.active and goods.currency == item.currency else None
    price = sold.price if sold else None
    live = [hold.until for hold in holds if hold.until > now]
    return ItemOut(
        id=item.id,
        sku=item.sku,
        product_id=goods.product_id if goods else None,
        name=goods.name if goods else item.sku,
        slug=goods.slug if goods else "",
        image_url=goods.image_url if goods else "",
        attributes=goods.attributes if goods else {},
        quantity=item.quantity,
        price_at_addition=money.show(item.price_at_addition, item.currency),
        price=money.show(price, item.currency) if price is not None else None,
        line_total=money.show((price or Decimal(0)) * item.quantity, item.currency),
        currency=item.currency,
        availability=_availability(item, sold, held=_held(holds, now)),
        available=goods.available if goods else None,
        max_per_order=goods.max_per_order if goods else None,
        reserved_until=min(live, default=None),
        added_at=item.added_at,
    )


def _held(holds: Sequence[Hold], now: datetime) -> int:
    return sum(hold.quantity for hold in holds if hold.until > now)


def _availability(item: Item, goods: Goods | None, *, held: int) -> Availability:
    if goods is None:
        return "REMOVED"
    if held >= item.quantity:
        return "IN_STOCK"
    if goods.available is None:
        return "UNKNOWN"
    if goods.available + held <= 0:
        return "SOLD_OUT"
    return "LOW" if goods.available + held < item.quantity else "IN_STOCK"


def _notices(item: Item, goods: Goods | None, holds: Mapping[str, Sequence[Hold]], now: datetime) -> list[NoticeOut]:
    """Return what has changed about an item since it was put in."""
    if goods is None or not goods.active or goods.currency != item.currency:
        return [NoticeOut(code="product_removed", message="it is not sold any more and does not count", sku=item.sku)]
    found: list[NoticeOut] = []
    if goods.price != item.price_at_addition:
        before, after = money.show(item.price_at_addition, item.currency), money.show(goods.price, item.currency)
        found.append(NoticeOut(code="price_changed", message="the price has changed", sku=item.sku, before=before, now=after))
    own = holds[item.sku]
    match _availability(item, goods, held=_held(own, now)):
        case "SOLD_OUT":
            found.append(NoticeOut(code="sold_out", message="it is sold out", sku=item.sku))
        case "LOW":
            left = str((goods.available or 0) + _held(own, now))
            found.append(NoticeOut(code="low_stock", message="fewer are left", sku=item.sku, before=str(item.quantity), now=left))
        case _:
            pass
    if item.quantity > goods.max_per_order:
        most = str(goods.max_per_order)
        message = f"at most {most} in one order"
        found.append(NoticeOut(code="quantity_above_limit", message=message, sku=item.sku, before=str(item.quantity), now=most))
    if own and not any(hold.until > now for hold in own):
        found.append(NoticeOut(code="reservation_ended", message="it is not held for you any more", sku=item.sku))
    return found


def owner_days(user_id: UUID | None, *, guest: int, user: int) -> int:
    """Return the days that a cart lives after its last change."""
    return guest if user_id is None else user
