"""What checkouts and orders ask of carts."""

from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

CONTENTS = "query.carts.contents"
"""Request subject: `ContentsAsked` to `Contents`."""
CLEAR = "ask.carts.clear"
"""Request subject: `Clear` to `Cleared`."""

CartState = Literal["ACTIVE", "MERGED", "CONVERTED", "ABANDONED"]


class ContentsAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which cart, and who asks: another's cart is not found."""

    cart_id: UUID
    user_id: UUID | None


class CartLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line, with the price at which it was put in."""

    sku: str
    quantity: int
    price_at_addition: Decimal
    holders: list[UUID] = []
    """Under which holders inventory holds stock for this line since it was put in (AT_CART): a checkout takes its place."""


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """What is in the cart; `state` is None where there is no such cart of this user."""

    state: CartState | None = None
    version: int = 0
    lines: list[CartLine] = []
    coupons: list[str] = []


class Clear(msgspec.Struct, frozen=True, kw_only=True):
    """A cart became an order: it is closed, and what was put in since goes into a new one. Asked again it changes nothing."""

    cart_id: UUID
    units: dict[str, int]
    """What was ordered, by SKU."""


class Cleared(msgspec.Struct, frozen=True, kw_only=True):
    """How the cart stands now; `state` is None where there is no such cart."""

    state: CartState | None = None
