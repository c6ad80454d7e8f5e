"""What a checkout asks of carts."""

from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

CONTENTS = "query.carts.contents"
"""Request subject: `ContentsAsked` to `Contents`."""

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
