"""What carts write, looked at from within: changes written again, rows that others hold, old carts, and the cache's order."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import asyncpg
import msgspec
import pytest
from msgspec import Struct

from careforall.carts.changing import Done, Owner, Wanted, new_guest
from careforall.carts.domain import Add, Hold, Merge
from careforall.carts.errors import CartClosed
from careforall.carts.service import CartsService
from careforall.carts.settings import CartsSettings
from careforall.contracts.carts import Clear, Contents, ContentsAsked
from careforall.contracts.catalog import Variant
from careforall.kit import json
from careforall.kit.bus import BrokerUnavailable
from careforall.kit.cache import Cache
from careforall.kit.db import Database, PoolSettings
from careforall.kit.ids import new_id
from careforall_testing.databases import connection
from careforall_testing.platform import fresh_database
from careforall_testing.pricing import product
from careforall_testing.servers import ServerUrls


class Desk(Struct, frozen=True, kw_only=True):
    """The service in this process with its database."""

    service: CartsService
    cache: Cache
    url: str

    async def add(self, owner: Owner, *, change: UUID | None = None, quantity: int = 1, hold: Hold | None = None) -> Done:
        """Put a cup in."""
        return await self.service.changing.submit(
            Wanted(id=change or new_id(), owner=owner, change=Add(sku="CUP", quantity=quantity, hold=hold))
        )


@pytest.fixture
async def desk(servers: ServerUrls) -> AsyncIterator[Desk]:
    """The service, with a cup to sell."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(fresh_database(servers.postgres, "carts"))
        settings = CartsSettings(postgres_url=servers.postgres, secret_key=secrets.token_hex(32))
        database = Database(url, name="carts", settings=PoolSettings(max_size=4))
        await database.open()
        stack.push_async_callback(database.close)
        cache = Cache(servers.redis, prefix=f"carts-{secrets.token_hex(4)}:")
        stack.push_async_callback(cache.close)
        service = CartsService(database, settings, cache=cache, ask=_away)
        stack.push_async_callback(service.drain)
        variant = Variant(variant_id=new_id(), sku="CUP", attributes={"size": "L"}, price_difference=Decimal(1))
        cup = product("CUP", sale_price=Decimal(8), max_per_order=1000, variants=(variant,))
        await database.run(lambda opened: service.projection.products(opened, [(cup, 1)]))
        yield Desk(service=service, cache=cache, url=url)


async def _away(_: str, __: bytes) -> bytes:
    raise BrokerUnavailable


async def test_rule_02_a_change_that_is_written_again_is_not_applied_twice(desk: Desk) -> None:
    owner, change = Owner(user_id=new_id()), new_id()
    for _ in range(3):
        done = await desk.add(owner, change=change)
    assert done.cart is not None
    assert ([item.quantity for item in done.cart.items], done.cart.version) == ([1], 1)
    guest = new_guest()
    for _ in range(2):
        done = await desk.add(guest, change=change)
    assert done.cart is not None
    assert done.cart.version == 1


async def test_the_price_is_that_of_the_sale_with_the_variant_s_difference(desk: Desk) -> None:
    done = await desk.add(new_guest())
    assert done.cart is not None
    assert done.cart.items[0].price_at_addition == Decimal(9)


@pytest.mark.parametrize("held", [Owner(user_id=new_id()), new_guest()], ids=["user", "guest's first request again"])
async def test_rule_01_a_held_cart_waits_and_delays_no_neighbour(desk: Desk, held: Owner) -> None:
    free = Owner(user_id=new_id())
    for owner in (held, free):
        await desk.add(owner)
    async with connection(desk.url) as opened, opened.transaction():
        await opened.execute("SELECT 1 FROM carts WHERE user_id = $1 OR id = $2 FOR UPDATE", held.user_id, held.cart_id)
        waiting = asyncio.ensure_future(desk.add(held))
        async with asyncio.timeout(2):
            done = await desk.add(free)
        assert done.cart is not None
        assert done.cart.version == 2
        assert not waiting.done()
    done = await waiting
    assert done.cart is not None
    assert done.cart.version == 2


async def test_carts_that_became_orders_are_cleared_together_and_once(desk: Desk) -> None:
    owners = [Owner(user_id=new_id()) for _ in range(3)]
    carts = [done.cart for done in [await desk.add(owner, quantity=3) for owner in owners] if done.cart is not None]
    for _ in range(2):
        asked = [Clear(cart_id=cart.id, units={"CUP": bought}) for cart, bought in zip(carts, (3, 2, 1), strict=True)]
        told = await asyncio.gather(*(desk.service.clearing.clear(one) for one in asked))
        assert [one.state for one in told] == ["CONVERTED"] * 3
    left = [await desk.service.show(owner) for owner in owners]
    assert [[item.quantity for item in shown.items] for shown in left] == [[], [1], [2]]
    assert not {shown.cart_id for shown in left} & {cart.id for cart in carts}
    assert (await desk.service.clearing.clear(Clear(cart_id=new_id(), units={}))).state is None


async def test_what_was_put_in_after_the_till_stays_held_for_the_cart_it_goes_into(desk: Desk) -> None:
    owner = Owner(user_id=new_id())
    until = datetime.now(UTC) + timedelta(minutes=5)
    bought, after = (Hold(holder_id=new_id(), sku="CUP", quantity=quantity, until=until) for quantity in (2, 1))
    for hold in (bought, after):
        done = await desk.add(owner, quantity=hold.quantity, hold=hold)
    assert done.cart is not None
    await desk.service.clearing.clear(Clear(cart_id=done.cart.id, units={"CUP": 2}))
    shown = await desk.service.show(owner)
    assert [(item.quantity, item.reserved_until) for item in shown.items] == [(1, until)]
    assert shown.cart_id is not None
    asked = json.encode(ContentsAsked(cart_id=shown.cart_id, user_id=owner.user_id))
    contents = msgspec.json.decode(await desk.service.answer_contents(asked), type=Contents)
    assert [line.holders for line in contents.lines] == [[after.holder_id]]


async def test_old_carts_are_abandoned_guests_first_and_users_later(desk: Desk) -> None:
    guest, user, young = await desk.add(new_guest()), await desk.add(Owner(user_id=new_id())), await desk.add(new_guest())
    assert guest.cart is not None
    assert user.cart is not None
    assert young.cart is not None
    async with connection(desk.url) as opened:
        await opened.execute("UPDATE carts SET updated_at = clock_timestamp() - interval '31 days' WHERE id <> $1", young.cart.id)
        await desk.service.abandon()
        states = {row["id"]: row["state"] for row in await opened.fetch("SELECT id, state FROM carts")}
    assert states == {guest.cart.id: "ABANDONED", user.cart.id: "ACTIVE", young.cart.id: "ACTIVE"}
    with pytest.raises(CartClosed):
        await desk.add(Owner(cart_id=guest.cart.id))
    wanted = Wanted(id=new_id(), owner=Owner(user_id=user.cart.user_id), change=Merge(guest_cart_id=guest.cart.id))
    with pytest.raises(CartClosed):
        await desk.service.changing.submit(wanted)


async def test_a_cart_in_the_cache_is_replaced_only_by_a_later_one(desk: Desk) -> None:
    await desk.cache.put_newer("cart", 5, b"five", seconds=60)
    await desk.cache.put_newer("cart", 4, b"four", seconds=60)
    assert await desk.cache.get_stamped("cart") == b"five"
    await desk.cache.put_newer("cart", 6, b"six", seconds=60)
    assert await desk.cache.get_stamped("cart") == b"six"


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE carts SET items = '{}'",
        "UPDATE carts SET state = 'LOST'",
        "UPDATE carts SET state = 'MERGED'",
        "UPDATE carts SET coupons = '[1, 2, 3, 4, 5, 6]'",
        "INSERT INTO carts (id, user_id) SELECT gen_random_uuid(), user_id FROM carts",
    ],
)
async def test_the_database_itself_refuses_nonsense(desk: Desk, sql: str) -> None:
    await desk.add(Owner(user_id=new_id()))
    async with connection(desk.url) as opened:
        with pytest.raises((asyncpg.CheckViolationError, asyncpg.UniqueViolationError)):
            await opened.execute(sql)
