"""What changes a cart, without any server: holds, merging, and what is left of a cart that became an order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from careforall.carts import domain, view
from careforall.carts.domain import Add, Cart, Goods, Hold, Item, Moment, SetQuantity
from careforall.carts.errors import OutOfStock
from careforall.kit.ids import new_id

NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
LATER = NOW + timedelta(minutes=10)


def goods(sku: str = "CUP", **changes: Any) -> Goods:
    fields: dict[str, Any] = {
        "sku": sku,
        "product_id": new_id(),
        "name": sku.title(),
        "slug": sku.lower(),
        "image_url": "",
        "attributes": {},
        "active": True,
        "price": Decimal("10.00"),
        "currency": "EUR",
        "available": 5,
        "max_per_order": 10,
        "reservation_policy": "AT_CHECKOUT",
    }
    return Goods(**fields | changes)


def item(sku: str = "CUP", quantity: int = 1, **changes: Any) -> Item:
    fields: dict[str, Any] = {"id": new_id(), "price_at_addition": Decimal("10.00"), "currency": "EUR", "added_at": NOW}
    return Item(**fields | {"sku": sku, "quantity": quantity} | changes)


def hold(quantity: int = 1, until: datetime = LATER) -> Hold:
    return Hold(holder_id=new_id(), sku="CUP", quantity=quantity, until=until)


def cart(*items: Item, holds: tuple[Hold, ...] = ()) -> Cart:
    return Cart(id=new_id(), items=items, holds=holds, updated_at=NOW)


def moment(*found: Goods) -> Moment:
    return Moment(shelf={one.sku: one for one in found}, coupons={}, now=NOW, new_id=new_id())


def test_a_hold_that_ran_out_gives_way_to_a_new_one() -> None:
    old, new = hold(2, until=NOW), hold(2)
    after = SetQuantity(item_id=(one := item(quantity=2)).id, quantity=2, hold=new).apply(
        cart(one, holds=(old,)), moment(goods())
    )
    assert after.holds == (new,)


def test_only_the_newest_holds_that_are_not_needed_at_all_go() -> None:
    first, second, third = hold(2), hold(2), hold(2)
    one = item(quantity=6)
    after = SetQuantity(item_id=one.id, quantity=3).apply(cart(one, holds=(first, second, third)), moment(goods()))
    assert after.holds == (first, second)


def test_sold_out_goods_go_in_only_where_they_are_held() -> None:
    sold = moment(goods(available=0))
    with pytest.raises(OutOfStock):
        Add(sku="CUP", quantity=1).apply(cart(), sold)
    assert Add(sku="CUP", quantity=1, hold=hold()).apply(cart(), sold).held("CUP") == 1


def test_merging_keeps_what_the_guest_holds_although_none_is_left_for_others() -> None:
    guest = cart(item(quantity=2), holds=(hold(2),))
    own = domain.merged(cart(), guest, {"CUP": goods(available=0)})
    assert ([one.quantity for one in own.items], own.held("CUP"), own.notes) == ([2], 2, ())
    bare = domain.merged(cart(), cart(item()), {"CUP": goods(available=0)})
    assert ([*bare.items], [note.code for note in bare.notes]) == ([], ["dropped_sold_out"])


def test_what_was_put_in_after_the_till_is_left() -> None:
    rest = domain.leftovers(cart(item(quantity=3), item("TEA")), {"CUP": 2})
    assert {one.sku: one.quantity for one in rest} == {"CUP": 1, "TEA": 1}


def test_a_hold_that_ran_out_is_told_and_one_that_lives_counts_as_stock() -> None:
    ended = view.shown(cart(item(), holds=(hold(until=NOW),)), {"CUP": goods()}, now=NOW, days=30)
    assert [notice.code for notice in ended.notices] == ["reservation_ended"]
    held = view.shown(cart(item(), holds=(hold(),)), {"CUP": goods(available=0)}, now=NOW, days=30)
    assert (held.items[0].availability, held.notices, held.expires_at) == ("IN_STOCK", [], NOW + timedelta(days=30))
