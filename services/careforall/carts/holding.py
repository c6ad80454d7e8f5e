"""Goods whose policy is AT_CART are held at inventory before they are put in, and given back when they are taken out.

Each part is held under a holder of its own. A hold whose cart was not written is given back at once; what cannot be given back,
because inventory is away, ends by itself within minutes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import msgspec
import structlog

from careforall.carts.domain import Cart, Goods, Hold
from careforall.carts.errors import InventoryUnavailable, OutOfStock, UnknownSku
from careforall.contracts import inventory
from careforall.kit import json
from careforall.kit.errors import Unavailable
from careforall.kit.ids import new_id
from careforall.kit.service import Ask

log = structlog.get_logger(__name__)


class Holding:
    """Asks inventory.

    Args:
        ask: Asks another service now.
        seconds: How long goods are held.
    """

    def __init__(self, ask: Ask, *, seconds: int) -> None:
        self._ask = ask
        self._seconds = seconds

    async def for_more(self, goods: Goods | None, cart: Cart | None, wanted: int) -> Hold | None:
        """Hold what a cart lacks of goods that are held at once; None where nothing is to be held.

        Args:
            goods: The goods; None where they are not sold.
            cart: The cart so far.
            wanted: How many of them the cart will have.

        Raises:
            OutOfStock: There are not so many.
            InventoryUnavailable: Nobody can be asked.
        """
        if goods is None or not goods.active or goods.reservation_policy != "AT_CART":
            return None
        now = datetime.now(UTC)
        held = sum(hold.quantity for hold in cart.holds if hold.sku == goods.sku and hold.until > now) if cart else 0
        lacking = min(wanted, goods.max_per_order) - held
        return await self._reserve(goods.sku, lacking) if lacking > 0 else None

    async def give_back(self, holds: Sequence[Hold]) -> None:
        """Give stock back; where nobody can be asked it ends by itself."""
        for hold in holds:
            asked = inventory.Settle(step_id=new_id(), holder_id=hold.holder_id, cause="taken out of the cart")
            try:
                await self._ask(inventory.RELEASE, json.encode(asked))
            except Unavailable:
                log.info("held stock ends by itself", holder_id=str(hold.holder_id))
                return

    async def _reserve(self, sku: str, quantity: int) -> Hold:
        holder = new_id()
        asked = inventory.Reserve(
            step_id=new_id(),
            holder_id=holder,
            lines=[inventory.Line(sku=sku, quantity=quantity)],
            seconds=self._seconds,
        )
        try:
            answer = msgspec.json.decode(await self._ask(inventory.RESERVE, json.encode(asked)), type=inventory.Reserved)
        except Unavailable as error:
            raise InventoryUnavailable from error
        if answer.outcome == "UNKNOWN_SKU":
            raise UnknownSku
        if answer.outcome != "RESERVED":
            raise OutOfStock(skus=answer.short or [sku])
        until = answer.expires_at or datetime.now(UTC) + timedelta(seconds=self._seconds)
        return Hold(holder_id=holder, sku=sku, quantity=quantity, until=until)
