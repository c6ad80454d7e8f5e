"""Buyers who order one piece directly, ask again until they are answered, and pay at the simulated gateway's page.

buyer = Buyer(Asker(client.request), headers, sku="LAST-ONES", token="42")
order = await buyer.order()                  # None: sold out
if order is not None and await pay(buyer.asker, order.intent_id):
    await buyer.ended(order)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from careforall.drills.asking import Answered, Asker
from careforall.drills.load import PATIENCE_S
from careforall.drills.polling import eventually

ORDERS, _INITIATE = "/api/v1/orders", "/api/v1/payments/initiate"
BOUGHT = "CONFIRMED"
_OPEN, _GONE = "PENDING", "FAILED"
_MADE, _TAKEN, _CONFLICT = 201, 202, 409
_SOLD_OUT = "out_of_stock"
_AGAIN_S, _LOOK_S = 0.2, 0.5


class Placed(Struct, frozen=True, kw_only=True):
    """An order that somebody was told of, and the intent it is paid by."""

    order_id: str
    intent_id: str


class Buyer:
    """Somebody who wants one piece of a SKU.

    Args:
        asker: Sends the requests.
        headers: Those of somebody who is signed in.
        sku: What they want.
        token: The same however often they ask.
        patience_s: How long they ask for an answer.
    """

    def __init__(self, asker: Asker, headers: Mapping[str, str], *, sku: str, token: str, patience_s: float = PATIENCE_S) -> None:
        self.asker = asker
        self._headers = {**headers, "Content-Type": "application/json"}
        self._body = json.dumps({"items": [{"sku": sku, "qty": 1}], "client_token": token}).encode()
        self._patience_s = patience_s

    async def order(self) -> Placed | None:
        """Order until there is a final answer; None where all is sold out.

        Raises:
            NotInTime: There was none.
        """
        answered = await eventually(self._decided, within_s=self._patience_s, every_s=_AGAIN_S, what="an order or a refusal")
        if answered.status == _CONFLICT:
            return None
        told = answered.document
        placed = Placed(order_id=told["id"], intent_id=told["payment_intent_id"])
        if answered.status == _TAKEN and not await self._is_held(placed):
            return None
        await self._started(placed)
        return placed

    async def ended(self, placed: Placed) -> str:
        """Wait until an order that was paid is no longer pending, and return its state.

        Raises:
            NotInTime: It stays pending.
        """

        async def look() -> str | None:
            status = str((await self._seen(placed)).get("status", _OPEN))
            return status if status != _OPEN else None

        return await eventually(look, within_s=self._patience_s, every_s=_LOOK_S, what="an order that is settled")

    async def _decided(self) -> Answered | None:
        answered = await self.asker.ask("order", "POST", ORDERS, content=self._body, headers=self._headers)
        return answered if answered.good or answered.code == _SOLD_OUT else None

    async def _is_held(self, placed: Placed) -> bool:
        """Whether an order that was taken without its stock got it in the end."""

        async def look() -> dict[str, Any] | None:
            seen = await self._seen(placed)
            return seen if seen.get("expires_at") is not None or seen.get("status") == _GONE else None

        seen = await eventually(look, within_s=self._patience_s, every_s=_LOOK_S, what="stock for an order")
        return str(seen["status"]) != _GONE

    async def _started(self, placed: Placed) -> None:
        """Ask where the order is paid, until that is known."""

        async def there() -> bool:
            body = json.dumps({"order_id": placed.order_id}).encode()
            answered = await self.asker.ask("initiate", "POST", _INITIATE, content=body, headers=self._headers)
            return answered.good

        await eventually(there, within_s=self._patience_s, every_s=_AGAIN_S, what="the payment of an order")

    async def _seen(self, placed: Placed) -> dict[str, Any]:
        """The order as its buyer sees it; empty where nobody answers."""
        answered = await self.asker.ask("look", "GET", f"{ORDERS}/{placed.order_id}", headers=self._headers)
        return answered.document if answered.good else {}
