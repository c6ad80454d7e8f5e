"""Reading carts: Redis first, PostgreSQL where it has nothing; losing Redis costs nothing but time (rule 17).

A cart in Redis is replaced only by one that was changed later, so that a slow reader cannot put an old one over a new one.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from careforall.carts import repository
from careforall.carts.changing import Owner
from careforall.carts.domain import Cart, Goods
from careforall.kit import json
from careforall.kit.cache import Cache
from careforall.kit.db import Connection, Database
from careforall.kit.metrics import CACHE_HITS, CACHE_MISSES
from careforall.kit.reads import SharedRead

_CART_SECONDS = 30
_GOODS_SECONDS = 5
_VERSIONS = 10**10
_FORGET_AFTER = 0.5
"""Seconds after which a cart that a message changed is dropped: by then its transaction has ended."""


class Reading:
    """Carts and goods through the cache."""

    def __init__(self, database: Database, cache: Cache) -> None:
        self._database = database
        self._cache = cache
        self._stored: SharedRead[Owner, Cart | None] = SharedRead(database, _stored)
        self._later: set[asyncio.Task[None]] = set()
        self._hits = CACHE_HITS.labels(service="carts", cache_type="redis")
        self._misses = CACHE_MISSES.labels(service="carts", cache_type="redis")

    async def cart(self, owner: Owner) -> Cart | None:
        """Return an owner's cart."""
        kept = await self._cache.get_stamped(_key(owner))
        if kept is not None:
            self._hits.inc()
            return msgspec.json.decode(kept, type=Cart)
        self._misses.inc()
        found = await self.stored(owner)
        if found is not None:
            await self.keep(owner, found)
        return found

    async def stored(self, owner: Owner) -> Cart | None:
        """Return an owner's cart as PostgreSQL has it."""
        return await self._stored.ask(owner)

    async def keep(self, owner: Owner, cart: Cart) -> None:
        """Keep a cart as it was just stored or read; changes that were stored at one moment differ by their version."""
        stamp = int(cart.updated_at.timestamp() * 1_000_000) * _VERSIONS + cart.version
        await self._cache.put_newer(_key(owner), stamp, json.encode(cart), seconds=_CART_SECONDS)

    async def forget(self, *owners: Owner) -> None:
        """Drop carts."""
        await self._cache.drop(*(_key(owner) for owner in owners))

    def forget_soon(self, *owners: Owner) -> None:
        """Drop carts that a message has changed, once its transaction has ended; nobody waits for it."""
        task = asyncio.ensure_future(self._forget_later(owners))
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    async def drain(self) -> None:
        """Wait until all is dropped that should be dropped soon."""
        if self._later:
            await asyncio.wait(self._later)

    async def goods(self, skus: Sequence[str]) -> dict[str, Goods]:
        """Return goods by SKU, a few seconds old at most."""
        wanted = list(dict.fromkeys(skus))
        kept = await self._cache.get_many([f"goods:{sku}" for sku in wanted])
        found = {sku: msgspec.json.decode(body, type=Goods) for sku, body in zip(wanted, kept, strict=True) if body is not None}
        if missing := [sku for sku in wanted if sku not in found]:
            async with self._database.connection() as connection:
                read = await repository.goods(connection, missing)
            await self._cache.put({f"goods:{sku}": json.encode(one) for sku, one in read.items()}, seconds=_GOODS_SECONDS)
            found |= read
        return found

    async def coupons(self, codes: Sequence[str]) -> dict[str, bool]:
        """Return whether the known ones of these coupons are active."""
        async with self._database.connection() as connection:
            return await repository.coupons(connection, codes)

    @staticmethod
    def now() -> datetime:
        """Return the time of a display; nothing is decided by it."""
        return datetime.now(UTC)

    async def _forget_later(self, owners: Sequence[Owner]) -> None:
        await asyncio.sleep(_FORGET_AFTER)
        await self.forget(*owners)


async def _stored(connection: Connection, owners: Sequence[Owner]) -> list[Cart | None]:
    users = [owner.user_id for owner in owners if owner.user_id is not None]
    ids = [owner.cart_id for owner in owners if owner.user_id is None and owner.cart_id is not None]
    found = await repository.find_carts(connection, users, ids)
    active = {cart.user_id: cart for cart in found if cart.state == "ACTIVE"}
    known = {cart.id: cart for cart in found}
    return [
        active.get(one.user_id) if one.user_id is not None else known.get(one.cart_id) if one.cart_id is not None else None
        for one in owners
    ]


def _key(owner: Owner) -> str:
    return f"cart:{owner.key}"
