"""Calls of many callers share a transaction and none can tell: each meets its own intent, its own key, its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyReused, Unavailable
from careforall.kit.idempotency import Call
from careforall.kit.ids import new_id
from careforall.simulator import actions, repository, repository_events
from careforall.simulator.acting import Acting, Done, Wanted
from careforall.simulator.actions import Action
from careforall.simulator.domain import Draft, Intent
from careforall.simulator.errors import NoSuchObject, UnexpectedState
from careforall.simulator.objects import IntentObject

HELD = Draft(amount=2500, currency="eur", capture_method="manual")
MANY = 40


@pytest.fixture
async def acting(database: Database) -> AsyncIterator[Acting]:
    found = Acting(database, base="http://127.0.0.1/simulator", fee_points=0)
    yield found
    await found.drain()


def wanted(work: Draft | Action, intent_id: str = "", *, key: str = "", mark: bytes = b"") -> Wanted:
    call = Call(scope="api", key=key or str(new_id()), fingerprint=mark)
    return Wanted(call=call, intent_id=intent_id or actions.new_name("pi"), work=work)


def shown(done: Done) -> IntentObject:
    return msgspec.json.decode(done.answer.body, type=IntentObject)


async def made(acting: Acting, count: int = 1) -> list[str]:
    """Make intents together; return their ids in the order of the calls."""
    return [shown(done).id for done in await asyncio.gather(*(acting.submit(wanted(HELD)) for _ in range(count)))]


async def intent(database: Database, intent_id: str) -> Intent:
    async with database.connection() as connection:
        found = await repository.find_intent(connection, intent_id)
    assert found is not None
    return found


async def told(database: Database, intent_id: str) -> list[str]:
    async with database.connection() as connection:
        return [event.type for event in await repository_events.events_of(connection, intent_id)]


async def test_a_crowd_is_written_in_one_transaction(acting: Acting, database: Database) -> None:
    before = database.queries
    ids = await made(acting, MANY)
    assert database.queries == before + 1
    assert len(set(ids)) == MANY
    answers = await asyncio.gather(*(acting.submit(wanted(actions.pay, one)) for one in ids))
    assert database.queries == before + 2
    assert [shown(done).id for done in answers] == ids
    assert {shown(done).status for done in answers} == {"requires_capture"}


async def test_intents_are_numbered_in_the_order_they_were_asked_for(acting: Acting, database: Database) -> None:
    numbers = [(await intent(database, one)).number for one in await made(acting, MANY)]
    assert numbers == sorted(numbers)


async def test_actions_on_one_intent_in_one_batch_follow_each_other(acting: Acting, database: Database) -> None:
    [one] = await made(acting)
    before = database.queries
    paid, captured, sent_back = await asyncio.gather(
        acting.submit(wanted(actions.pay, one, key="a")),
        acting.submit(wanted(actions.capture(2000), one, key="b")),
        acting.submit(wanted(actions.refund(500, None, {}), one, key="c")),
    )
    assert database.queries == before + 1
    assert (shown(paid).status, shown(captured).status) == ("requires_capture", "succeeded")
    assert msgspec.json.decode(sent_back.answer.body)["amount"] == 500
    found = await intent(database, one)
    assert (found.version, found.amount_received, found.amount_refunded) == (4, 2000, 500)
    assert await told(database, one) == [
        "payment_intent.amount_capturable_updated",
        "payment_intent.succeeded",
        "refund.created",
        "charge.refunded",
    ]


async def test_a_dispute_opened_and_decided_in_one_batch_is_kept_as_decided(acting: Acting, database: Database) -> None:
    [one] = await made(acting)
    steps = [actions.pay, actions.capture(None), actions.dispute(None), actions.dispute("won"), actions.refund(100, None, {})]
    await asyncio.gather(*(acting.submit(wanted(step, one, key=f"{place}")) for place, step in enumerate(steps)))
    async with database.connection() as connection:
        disputes = await repository.disputes_of(connection, [one])
    assert disputes[one].status == "won"
    with pytest.raises(UnexpectedState):
        await acting.submit(wanted(actions.dispute(None), one))


async def test_a_refused_action_gives_its_key_up_and_spares_its_neighbours(acting: Acting, database: Database) -> None:
    one, other = await made(acting, 2)
    early = wanted(actions.capture(None), one, key="again")
    refused, absent, done = await asyncio.gather(
        acting.submit(early),
        acting.submit(wanted(actions.pay, "pi_none")),
        acting.submit(wanted(actions.pay, other)),
        return_exceptions=True,
    )
    assert isinstance(refused, UnexpectedState)
    assert isinstance(absent, NoSuchObject)
    assert isinstance(done, Done)
    assert await told(database, one) == []
    await acting.submit(wanted(actions.pay, one))
    assert shown(await acting.submit(early)).status == "succeeded"


async def test_a_key_answers_the_same_and_not_for_something_else(acting: Acting, database: Database) -> None:
    [one] = await made(acting)
    first = await acting.submit(wanted(actions.pay, one, key="k", mark=b"pay"))
    again, other = await asyncio.gather(
        acting.submit(wanted(actions.pay, one, key="k", mark=b"pay")), acting.submit(wanted(actions.capture(None), one))
    )
    assert (again.answer.body, first.answer.replayed, again.answer.replayed) == (first.answer.body, False, True)
    assert shown(other).status == "succeeded"
    with pytest.raises(IdempotencyKeyReused):
        await acting.submit(wanted(actions.cancel(None), one, key="k", mark=b"cancel"))
    assert (await intent(database, one)).version == 3


async def test_an_intent_held_by_somebody_else_delays_nobody_but_its_caller(acting: Acting, database: Database) -> None:
    busy, free = await made(acting, 2)

    async def hold(connection: Connection) -> asyncio.Task[Done]:
        assert [one.id for one in await repository.lock_intents(connection, [busy])] == [busy]
        waiting = asyncio.ensure_future(acting.submit(wanted(actions.pay, busy)))
        assert shown(await acting.submit(wanted(actions.pay, free))).status == "requires_capture"
        assert not waiting.done()
        return waiting

    waiting = await database.run(hold)
    assert shown(await waiting).status == "requires_capture"


async def test_patience_with_a_held_intent_ends(acting: Acting, database: Database) -> None:
    [busy] = await made(acting)

    async def hold(connection: Connection) -> None:
        await repository.lock_intents(connection, [busy])
        with pytest.raises(Unavailable):
            await acting.submit(wanted(actions.pay, busy, key="late"))

    await database.run(hold)
    assert (await intent(database, busy)).version == 1
    assert not (await acting.submit(wanted(actions.pay, busy, key="late"))).answer.replayed
