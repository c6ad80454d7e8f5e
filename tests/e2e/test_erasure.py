"""Somebody buys, gives, reviews, and asks to be forgotten: then no database knows the mail, the name or the street any more."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from careforall.kit.ids import new_id
from careforall_testing.journey import PASSWORD, Journey, running_platform
from careforall_testing.polling import eventually

pytestmark = pytest.mark.timeout(300)

UNDER_WAY = frozenset({"outbox"})
"""What is kept for three days, on its way to others."""
_COLUMNS = """
SELECT c.relname AS table, a.attname AS column, a.atttypid::regtype::text AS kind
FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'm')
  AND a.atttypid::regtype::text ~ '^(text|character.*|"char"|json|jsonb|bytea)(\\[\\])?$'
"""


@pytest.fixture(scope="module")
async def platform() -> AsyncIterator[Journey]:
    """Every service, with orders that look for ended ones of erased buyers all the time."""
    async with running_platform(CAREFORALL_ERASURE_SECONDS="0.3") as journey:
        yield journey


class Leaver:
    """Somebody who is going to ask to be forgotten."""

    def __init__(self, platform: Journey) -> None:
        self.platform = platform
        mark = new_id().hex[-10:]
        self.mail = f"wilhelmina-{mark}@example.org"
        self.first, self.last, self.street = f"Wilhelmina{mark}", f"Quistorp{mark}", f"Nightingale Alley {mark}"
        self.headers: dict[str, str] = {}
        self.user = UUID(int=0)

    @property
    def name(self) -> str:
        """How they are called."""
        return f"{self.first} {self.last}"

    async def arrive(self, *, prove: bool) -> None:
        """Sign up, perhaps prove the mail, and leave an address."""
        body = {"email": self.mail, "password": PASSWORD, "first_name": self.first, "last_name": self.last}
        assert (await self.platform.client.post("/api/v1/auth/signup", json=body)).status_code == 201
        if prove:
            await self._prove()
        self.headers = await self.platform.sign_in(self.mail)
        self.user = UUID((await self.ask("GET", "users/me"))["id"])

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> dict[str, Any]:
        """Call the API and return what it says."""
        answer = await self.platform.client.request(method, f"/api/v1/{path}", json=body, headers={**self.headers, **headers})
        assert answer.is_success, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def buy(self, sku: str) -> str:
        """Buy one piece and have it sent home."""
        cart = await eventually(lambda: self._cart(sku), within_s=30, what=f"a cart with {sku}")
        home = {"type": "SHIPPING", "name": self.name, "line1": self.street, "city": "Berlin", "country": "DE"}
        address = (await self.ask("POST", "users/me/addresses", home))["id"]
        begun = await self.ask("POST", "checkout/initiate", {"cart_id": cart, "shipping_address_id": address})
        card = {"payment_method": "CARD", "payment_token": "tok_ok", "idempotency_key": str(new_id())}
        paid = await self.ask("POST", f"checkout/{begun['checkout_id']}/pay", card)
        assert paid["status"] == "CONFIRMED", paid
        return str(paid["order_id"])

    async def _cart(self, sku: str) -> str | None:
        answer = await self.platform.client.post("/api/v1/cart/items", json={"sku": sku}, headers=self.headers)
        return str(answer.json()["cart_id"]) if answer.status_code == 201 else None

    async def _prove(self) -> None:
        await self.platform.mailed(self.mail, "Please confirm your mail address")
        [mail] = (await self.platform.client.get("/mailbox/messages", params={"to": self.mail})).json()["items"]
        token = re.search(r"token=([\w.-]+)", mail["text"])
        assert token, mail
        answer = await self.platform.client.post("/api/v1/auth/verify-email", json={"token": token[1]})
        assert answer.is_success, answer.text

    def words(self) -> Sequence[str]:
        """What names them."""
        return (self.mail, self.first, self.last, self.street)


@pytest.fixture
async def leaver(platform: Journey) -> Leaver:
    return Leaver(platform)


async def said(platform: Journey, words: Sequence[str], *, leaving_out: Mapping[str, frozenset[str]]) -> set[str]:
    """Where in all databases any of some words stands, as service.table.column."""
    places = set()
    for service in platform.databases:
        async with platform.database(service) as connection:
            for row in await connection.fetch(_COLUMNS):
                if row["table"] in UNDER_WAY | leaving_out.get(service, frozenset()):
                    continue
                if await _holds(connection, row, words):
                    places.add(f"{service}.{row['table']}.{row['column']}")
    return places


async def _holds(connection: asyncpg.Connection, row: asyncpg.Record, words: Sequence[str]) -> bool:
    column, table = f'"{row["column"]}"', f'"{row["table"]}"'
    text = f"encode({column}, 'escape')" if row["kind"] == "bytea" else f"{column}::text"
    return bool(await connection.fetchval(f"SELECT true FROM {table} WHERE {text} ILIKE ANY($1::text[]) LIMIT 1", _within(words)))


def _within(words: Sequence[str]) -> list[str]:
    return [f"%{word}%" for word in words]


async def _delivered_long_ago(platform: Journey, order_id: str) -> None:
    for status in ("SHIPPED", "DELIVERED"):
        path = f"/api/v1/orders/{order_id}/status"
        answer = await platform.client.patch(path, json={"status": status}, headers=await platform.staff())
        assert answer.is_success, answer.text
    async with platform.database("orders") as connection:
        past = timedelta(days=31)
        await connection.execute("UPDATE orders SET delivered_at = now() - $2::interval WHERE id = $1", UUID(order_id), past)


@pytest.mark.parametrize("proved", [True, False], ids=["proved", "unproved"])
async def test_nothing_that_names_them_is_left_of_whoever_was_forgotten(platform: Journey, leaver: Leaver, proved: bool) -> None:
    sku, campaign = f"CUP-{new_id().hex[-8:]}", await platform.campaign()
    await platform.shelve(sku, 9, name="A cup")
    await leaver.arrive(prove=proved)
    key = {"Idempotency-Key": str(new_id())}
    gift = {"donor_email": leaver.mail, "donor_name": leaver.name, "message": f"greetings from {leaver.street}"}
    as_guest = key if proved else {**key, **leaver.headers}  # what strangers give under a mail that nobody proved stays
    given = await platform.completed_gift(campaign, headers=as_guest, **gift)
    await platform.give(campaign, headers={**leaver.headers, "Idempotency-Key": str(new_id())}, **gift)
    delivered, cancelled, open_ = await leaver.buy(sku), await leaver.buy(sku), await leaver.buy(sku)
    await _delivered_long_ago(platform, delivered)
    await leaver.ask("POST", f"orders/{cancelled}/cancel", {"reason": "too late"})
    if proved:
        staff = {**await platform.staff(), "Idempotency-Key": str(new_id())}
        await leaver.ask("POST", "customers", {"email": leaver.mail, "name": leaver.name}, **staff)
    await _reviewed(platform, leaver, delivered)
    await platform.settled()
    hidden = {} if proved else {"audit": frozenset({"audit_events"})}
    before = await said(platform, leaver.words(), leaving_out={})
    assert {"orders.orders.email", "orders.saga_state.payload", "donations.donations.donor_email"} <= before

    await leaver.ask("POST", "users/me/erase")

    street_only = await _until(platform, leaver, {"orders.orders.shipping_address"}, hidden)
    assert street_only == {"orders.orders.shipping_address"}, "what is still to be delivered"
    await _delivered_long_ago(platform, open_)
    assert await _until(platform, leaver, set(), hidden) == set()
    async with platform.database("donations") as connection:
        facts = await connection.fetch("SELECT donor_email, status FROM donations WHERE id = $1", UUID(given["id"]))
    assert tuple(*facts) == ("erased", "COMPLETED"), "the facts stay"
    async with platform.database("orders") as connection:
        assert await connection.fetchval("SELECT count(*) FROM orders WHERE user_id = $1", leaver.user) == 3
    verified = await platform.platform.cli("verify")
    assert verified.status == 0, verified.out


async def _until(platform: Journey, leaver: Leaver, wanted: set[str], hidden: Mapping[str, frozenset[str]]) -> set[str]:
    """Where they are still named, once that is where it should be, or after a while."""
    found: set[str] = set()

    async def look() -> bool:
        nonlocal found
        found = await said(platform, leaver.words(), leaving_out=hidden)
        return found == wanted

    try:
        await eventually(look, within_s=30, what="erasure")
    except AssertionError:
        return found
    return found


async def _reviewed(platform: Journey, leaver: Leaver, order_id: str) -> None:
    [line] = (await leaver.ask("GET", f"orders/{order_id}"))["items"]

    async def written() -> bool:
        body = {"rating": 5, "text": f"{leaver.first} of {leaver.street} likes it"}
        headers = {**leaver.headers, "Idempotency-Key": str(new_id())}
        path = f"/api/v1/products/{line['product_id']}/reviews"
        answer = await platform.client.post(path, json=body, headers=headers)
        return answer.status_code == 201

    await eventually(written, within_s=30, what="a review")
