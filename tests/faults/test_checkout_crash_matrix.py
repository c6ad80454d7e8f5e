"""The crash matrix of checkouts: a process dies in each step of the saga, before and after its effect, and another ends it.

What it ends in is written to docs/reference/checkout-crash-matrix.md and compared byte by byte: UPDATE_GOLDEN=1 writes it anew.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import httpx2
import pytest
from msgspec import Struct

from careforall.kit.crash import SAGA_STEPS
from careforall.kit.ids import new_id
from careforall_testing.platform import Served, client_of
from careforall_testing.polling import eventually
from careforall_testing.shop import SERVICES, Shop, running_shop

PAGE = Path(__file__).parents[2] / "docs/reference/checkout-crash-matrix.md"
PLACES: Mapping[str, str] = {
    "before_effect": "before its effect",
    "after_effect": "after its effect, before it is recorded",
    "after_record": "after it is recorded",
}
PAID, FREE, REFUNDED = "paid once, stock sold once", "nothing charged, stock free", "refunded once, stock back"
NEIGHBOURS = tuple(name for name in SERVICES if name != "orders")
LEASE = {"CAREFORALL_SAGA_LEASE_SECONDS": "2"}

_TRIES = 10

pytestmark = pytest.mark.timeout(400)


class Till:
    """One buyer at a process that is going to die."""

    def __init__(self, shop: Shop, buyer: dict[str, str], sku: str) -> None:
        self.shop = shop
        self.buyer = buyer
        self.sku = sku
        self.key = str(new_id())
        self.body: dict[str, str] = {}

    async def arrive(self) -> None:
        """Put one thing into a cart, with a coupon, so that every step has something to do."""
        await self.shop.stock(self.sku, 3, price="20.00")
        coupon = {"code": self.sku, "percent": "10", "total_limit": 1}
        made = await self.shop.client.post("/api/v1/admin/coupons", json=coupon, headers=self.shop.admin)
        assert made.status_code == 201, made.text
        cart = await self.shop.cart(self.buyer, {self.sku: 1}, coupons=[self.sku])
        self.body = {"cart_id": str(cart), "shipping_address_id": await self.shop.address(self.buyer)}

    async def initiate(self) -> str:
        """Go to the till, with the same key however often."""
        headers = {**self.buyer, "Idempotency-Key": self.key}
        answer = await self.shop.front.post("/api/v1/checkout/initiate", json=self.body, headers=headers)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["checkout_id"])

    async def buy(self) -> None:
        """Buy with a card."""
        await self.shop.pay(self.buyer, await self.initiate(), key=self.key)

    async def bought(self) -> None:
        """What a buyer sees who tries again: one order, paid."""
        checkout = await self.initiate()
        paid = await self.shop.pay(self.buyer, checkout, key=self.key)
        assert paid.status_code in {200, 202}, paid.text
        done = await self.shop.checkout_in(self.buyer, checkout, "CONFIRMED")
        order = await self.shop.order_in(self.buyer, done["order_id"], "CONFIRMED")
        payment = await self.shop.payment(order["payment"]["intent_id"])
        assert (payment["status"], payment["captured_amount"], order["total"]) == ("CAPTURED", "18.00", "18.00")
        await self.shop.shelf_is(self.sku, 2, 0)

    async def give_up(self) -> None:
        """Go to the pay page, and call it off there."""
        waits = await self.shop.pay(self.buyer, await self.initiate(), "")
        await self.shop.known(waits.json()["pay_url"].rpartition("/")[2])
        path = f"/api/v1/checkout/{waits.json()['checkout_id']}/cancel"
        await self.shop.front.post(path, headers=self.buyer)

    async def given_up(self) -> None:
        """What is left: an order that was cancelled, nothing charged."""
        checkout = await self.initiate_ended()
        order = await self.shop.order_in(self.buyer, checkout["order_id"], "CANCELLED")
        payment = await self.shop.payment(order["payment"]["intent_id"])
        assert (payment["status"], payment["captured_amount"]) == ("FAILED", "0.00")
        await self.shop.shelf_is(self.sku, 3, 0)

    async def initiate_ended(self) -> dict[str, str]:
        """The checkout as it stands in the end."""
        async with self.shop.platform.database("orders") as connection:
            checkout = await connection.fetchval(_MINE, await self.shop.user_of(self.buyer))
        found: dict[str, str] = await self.shop.checkout_in(self.buyer, str(checkout), "RELEASED")
        return found

    async def send_back(self) -> None:
        """Buy, and call the paid order off."""
        paid = await self.shop.pay(self.buyer, await self.initiate(), key=self.key)
        assert paid.status_code == 200, paid.text
        path = f"/api/v1/orders/{paid.json()['order_id']}/cancel"
        await self.shop.front.post(path, json={"reason": "changed my mind"}, headers=self.buyer)

    async def sent_back(self) -> None:
        """What is left: a cancelled order, its money and its stock back, once."""
        async with self.shop.platform.database("orders") as connection:
            found = await connection.fetchval(_ORDER, await self.shop.user_of(self.buyer))
        order = await self.shop.order_in(self.buyer, str(found), "CANCELLED")
        await self.shop.shelf_is(self.sku, 3, 0)
        payment = await self.shop.payment(order["payment"]["intent_id"])
        assert (payment["status"], payment["refunded_amount"], len(payment["refunds"])) == ("REFUNDED", "18.00", 1)


Scene = tuple[Callable[[Till], Awaitable[None]], Callable[[Till], Awaitable[None]], str]
BUYING: Scene = (Till.buy, Till.bought, PAID)
GIVING_UP: Scene = (Till.give_up, Till.given_up, FREE)
SENDING_BACK: Scene = (Till.send_back, Till.sent_back, REFUNDED)
SCENES: Mapping[str, Scene] = {
    **dict.fromkeys(("reserve", "lock", "pin", "authorise", "confirm", "capture", "redeem"), BUYING),
    **dict.fromkeys(("cancel", "release", "free"), GIVING_UP),
    **dict.fromkeys(("refund", "restock"), SENDING_BACK),
}


class Ward(Struct, frozen=True, kw_only=True):
    """A shop with a process that is going to die, and others that are not."""

    shop: Shop
    victim: Served
    safe: httpx2.AsyncClient
    dying: httpx2.AsyncClient


@pytest.fixture(scope="module")
async def ward() -> AsyncIterator[Ward]:
    async with running_shop(NEIGHBOURS, databases_of=SERVICES, **LEASE) as shop:
        await shop.platform.serve(["orders"], role="worker")
        steady = await shop.platform.serve(["orders"], role="api")
        victim = await shop.platform.serve(["orders"], role="api")
        async with client_of(steady.url) as safe, client_of(victim.url) as dying:
            yield Ward(shop=shop, victim=victim, safe=safe, dying=dying)


@pytest.mark.parametrize("step", SAGA_STEPS)
async def test_a_checkout_that_dies_in_a_step_ends_on_one_side(ward: Ward, step: str) -> None:
    for place in PLACES:
        await _die(ward, step, place)
    assert await eventually(lambda: _all_ended(ward.shop), within_s=60, what="all sagas have ended")


def test_the_matrix_is_published_as_it_is_tested() -> None:
    assert set(SCENES) == set(SAGA_STEPS)
    page = render()
    if os.environ.get("UPDATE_GOLDEN"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page


async def _die(ward: Ward, step: str, place: str) -> None:
    """Have a process die at a point, and see by another one how it ended."""
    shop, victim = ward.shop, ward.victim
    act, see, _ = SCENES[step]
    await victim.stop()
    victim.launch(CAREFORALL_CRASH_AT=f"saga.{step}.{place}")
    for tried in range(_TRIES):
        shop.front = ward.safe
        till = Till(shop, await shop.sign_up(f"buyer-{new_id().hex}@example.org"), f"{step}-{place}-{tried}".upper())
        await till.arrive()
        await victim.wait_ready()
        shop.front = ward.dying
        if not await _answered(act(till)):
            break
    assert await victim.wait_dead(timeout_s=60) == -signal.SIGKILL, f"{step} {place}: {victim.log_text()[-2000:]}"
    shop.front = ward.safe
    await eventually(lambda: _at_rest(shop, till), within_s=60, what=f"somebody went on after {step} {place}")
    await see(till)


async def _answered(acting: Awaitable[None]) -> bool:
    """Whether a buyer was answered: the event of a payment may be faster than the one who asked, and take the saga over."""
    try:
        await acting
    except httpx2.HTTPError:
        return False
    return True


async def _at_rest(shop: Shop, till: Till) -> bool:
    async with shop.platform.database("orders") as connection:
        return not await connection.fetchval(_MOVING, await shop.user_of(till.buyer))


async def _all_ended(shop: Shop) -> bool:
    return all(row["status"] in {"COMPLETED", "COMPENSATED", "FAILED"} for row in await shop.sagas())


def render() -> str:
    """The page."""
    lines = [
        "# Crash matrix of the checkout",
        "",
        "A process is killed (SIGKILL) in each step of the saga: before the effect of the step, after it but before its outcome",
        "is recorded, and after that. Another process takes the saga over when its lease has run out, and the buyer tries again.",
        "What it ended in is written here by `tests/faults/test_checkout_crash_matrix.py`, which fails where it ends otherwise.",
        "",
        f"| step | {' | '.join(PLACES.values())} |",
        "| --- | --- | --- | --- |",
        *(f"| {step} | {' | '.join(SCENES[step][2] for _ in PLACES)} |" for step in SAGA_STEPS),
        "",
    ]
    return "\n".join(lines)


_MOVING = """
SELECT EXISTS (
    SELECT 1 FROM saga_state
    WHERE user_id = $1 AND lease_until IS NOT NULL AND current_step NOT IN ('ready', 'payer')
)
"""
_MINE = "SELECT id FROM saga_state WHERE user_id = $1 AND type = 'CHECKOUT'"
_ORDER = "SELECT id FROM orders WHERE user_id = $1"
