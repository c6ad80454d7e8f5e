"""Busy statements over small batches keep one plan for all calls (`kit/db.py`): planning each anew costs as much as doing it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from careforall.accounts import repository as accounts
from careforall.carts import repository as carts
from careforall.kit import migrate
from careforall.kit.ids import new_id
from careforall.orders import repository as orders
from careforall.orders import repository_sagas as sagas
from careforall.orders.records import Changes
from careforall.payments import repository as payments
from careforall.payments import repository_events, repository_steps
from careforall.payments.records import Attempt
from careforall.pricing import repository as pricing
from careforall_testing.databases import Databases, connection

Call = Callable[[Any], Awaitable[object]]

FIRST = 5
"""How often PostgreSQL plans a statement with its values before it compares that with a plan for all."""
ATTEMPT = Attempt(intent_id=new_id(), number=1, gateway="simulator", status="OPEN")
CALLS: dict[str, tuple[str, Call]] = {
    "carts are locked": ("carts", lambda opened: carts.lock_carts(opened, [new_id()], [new_id()])),
    "goods are read": ("carts", lambda opened: carts.goods(opened, ["MUG", "CAP"])),
    "prices are read": ("pricing", lambda opened: pricing.shelf(opened, ["MUG", "CAP"])),
    "receivers are read": ("accounts", lambda opened: accounts.receiving(opened, [new_id()])),
    "sagas are read": ("orders", lambda opened: sagas.runs(opened, [new_id()])),
    "waiting checkouts are read": ("orders", lambda opened: sagas.waiting(opened, [new_id()])),
    "versions of orders are read": ("orders", lambda opened: orders.versions(opened, [new_id()])),
    "what carts became is read": ("orders", lambda opened: orders.bought_of_carts(opened, [new_id()])),
    "sagas are locked": ("orders", lambda opened: sagas.lock(opened, [new_id()])),
    "sagas are begun": ("orders", lambda opened: sagas.begin(opened, [])),
    "plain turns are written": ("orders", lambda opened: sagas.move(opened, [])),
    "turns are written": ("orders", lambda opened: orders.write(opened, Changes())),
    "intents are locked": ("payments", lambda opened: payments.lock_intents(opened, [new_id()])),
    "attempts are read": ("payments", lambda opened: payments.last_attempts(opened, [new_id()])),
    "attempts are recorded": ("payments", lambda opened: payments.record_attempts(opened, [ATTEMPT], [5.0])),
    "events are touched": ("payments", lambda opened: repository_events.touch_events(opened, [("generic", "e:1")])),
    "steps are looked for": ("payments", lambda opened: repository_steps.answer(opened, [])),
}
PLANS = "SELECT generic_plans, custom_plans FROM pg_prepared_statements WHERE generic_plans + custom_plans = $1"


@pytest.mark.parametrize("what", CALLS)
async def test_a_small_batch_is_not_planned_each_time(databases: Databases, what: str) -> None:
    service, call = CALLS[what]

    async def prepare(url: str) -> None:
        await migrate.migrate(url, migrate.load(f"careforall.{service}"))

    async with databases.clone(await databases.template(service, prepare)) as url, connection(url) as opened:
        for way in ("enable_seqscan", "enable_hashjoin", "enable_mergejoin"):  # as pools have it
            await opened.execute(f"SET {way} = off")
        for _ in range(3 * FIRST):
            await call(opened)
        [plans] = await opened.fetch(PLANS, 3 * FIRST)
    assert (plans["custom_plans"], plans["generic_plans"]) == (FIRST, 2 * FIRST)
