"""Clearing carts that became orders, many in one transaction: each is closed, and what was put in since goes into a new one.

Whoever sold the goods asks for it before the buyer is told, so that nobody who goes on shopping at once buys them twice; the
event of the confirmed order asks again, for whoever could not. A cart that is closed stays as it is.
"""

import uuid
from collections.abc import Sequence

from msgspec.structs import replace

from careforall.carts import domain, repository
from careforall.carts.changing import Owner
from careforall.carts.domain import Cart
from careforall.carts.reading import Reading
from careforall.carts.settings import CartsSettings
from careforall.contracts.carts import Clear, Cleared
from careforall.kit.batch import GroupCommit
from careforall.kit.db import Connection, Database


class Clearing:
    """Closes carts in shared transactions."""

    def __init__(self, database: Database, settings: CartsSettings, reading: Reading) -> None:
        self._reading = reading
        self._batch: GroupCommit[Clear, Cart | None] = GroupCommit(
            "cleared-carts", database, self.write, max_batch=settings.batch_size, flights=1
        )
        self.drain = self._batch.drain

    async def clear(self, asked: Clear) -> Cleared:
        """Close a cart that became an order, and return how it stands."""
        cart = await self._batch.submit(asked, key=str(asked.cart_id))
        if cart is None:
            return Cleared()
        await self._reading.forget(_owner(cart))
        return Cleared(state=cart.state)

    async def write(self, connection: Connection, asked: Sequence[Clear]) -> list[Cart | None]:
        """Close carts in the caller's transaction, and return them."""
        locked = await repository.lock_carts(connection, [], sorted({one.cart_id for one in asked}), wait=True)
        found = {cart.id: cart for cart in locked}
        closed: list[Cart] = []
        fresh: list[Cart] = []
        for one in asked:
            cart = found.get(one.cart_id)
            if cart is None or cart.state != "ACTIVE":
                continue
            found[cart.id] = replace(cart, state="CONVERTED", version=cart.version + 1, notes=())
            closed.append(found[cart.id])
            if rest := domain.leftovers(cart, one.units):
                held = domain.still_held(cart, rest)
                fresh.append(
                    Cart(id=uuid.uuid4(), user_id=cart.user_id, version=1, items=rest, holds=held, updated_at=cart.updated_at)
                )
        if closed:
            await repository.store_carts(connection, closed)
            self._reading.forget_soon(*map(_owner, closed))
        if fresh:
            await repository.insert_carts(connection, fresh)
        return [found.get(one.cart_id) for one in asked]


def _owner(cart: Cart) -> Owner:
    return Owner(user_id=cart.user_id, cart_id=cart.id)
