"""Events waiting in the database: whoever takes them may die, nobody may listen, and patience ends."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import pytest

from careforall.kit.db import Connection, Database
from careforall.launch.ports import free_port
from careforall.simulator import repository, repository_events
from careforall.simulator.delivery import Courier
from careforall.simulator.domain import Draft, EventSeen
from careforall.simulator.repository_events import DueEvent, NewEvent
from careforall.simulator.settings import SimulatorSettings
from careforall.simulator.switches import Fate

NOBODY = f"http://127.0.0.1:{free_port()}/webhook"


async def store(database: Database, *ids: str) -> None:
    """Store events of one intent."""

    async def work(connection: Connection) -> None:
        await repository.insert_intents(connection, {"pi_1": Draft(amount=2500, currency="eur")})
        events = [NewEvent(id=name, type="x", payment_intent="pi_1", body=b"{}", fate=Fate()) for name in ids]
        await repository_events.insert_events(connection, events)

    await database.run(work)


async def claim(database: Database, *, lease: float) -> list[DueEvent]:
    return await database.run(lambda connection: repository_events.claim_events(connection, limit=10, lease=lease))


def courier(database: Database, url: str, **changes: Any) -> Courier:
    settings = SimulatorSettings(postgres_url="postgresql://unused", secret_key="x" * 32, simulator_webhook_url=url, **changes)
    return Courier(database, settings)


async def seen(database: Database) -> list[EventSeen]:
    return await database.run(lambda connection: repository_events.events_of(connection, "pi_1"))


async def test_a_claim_keeps_others_away_until_its_lease_ends(database: Database) -> None:
    await store(database, "evt_1", "evt_2")
    assert [event.id for event in await claim(database, lease=0.3)] == ["evt_1", "evt_2"]
    assert await claim(database, lease=0.3) == []
    async with asyncio.timeout(10):
        while not (again := await claim(database, lease=60)):
            await asyncio.sleep(0.05)
    assert [(event.id, event.attempts) for event in again] == [("evt_1", 2), ("evt_2", 2)]


async def test_claims_at_the_same_time_share_nothing(database: Database) -> None:
    await store(database, *(f"evt_{number:02}" for number in range(40)))
    claimed = [event.id for batch in await asyncio.gather(*(claim(database, lease=60) for _ in range(4))) for event in batch]
    assert len(claimed) == len(set(claimed)) == 40


async def test_an_event_nobody_takes_waits_and_says_why(database: Database) -> None:
    await store(database, "evt_1")
    carrier = courier(database, NOBODY)
    assert await carrier.deliver_due() == 1
    await carrier.close()
    [event] = await seen(database)
    assert (event.state, event.attempts, event.last_outcome) == ("PENDING", 1, "ConnectError")


async def test_patience_ends(database: Database) -> None:
    await store(database, "evt_1")
    carrier = courier(database, NOBODY, webhook_days=0.0)
    await carrier.deliver_due()
    await carrier.close()
    [event] = await seen(database)
    assert event.state == "GIVEN_UP"
    assert await claim(database, lease=1) == []


async def test_a_shop_that_comes_back_gets_what_it_missed(database: Database, shop: Any) -> None:
    await store(database, "evt_1")
    shop.secret = "shared"
    shop.answers.append(503)
    carrier = courier(database, f"{shop.url}/webhook", simulator_secrets="shared, older")
    await carrier.deliver_due()
    assert [event.last_outcome for event in await seen(database)] == ["503"]
    async with asyncio.timeout(10):
        while [event.state for event in await seen(database)] != ["DELIVERED"]:
            await carrier.deliver_due()
            await asyncio.sleep(0.05)
    await carrier.close()
    assert shop.taken[-1] == {}


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE payment_intents SET status = 'canceled' WHERE id = 'pi_1'",
        "UPDATE payment_intents SET amount_refunded = 2501 WHERE id = 'pi_1'",
        "UPDATE payment_intents SET status = 'requires_payment_method', amount_received = 0 WHERE id = 'pi_1'",
    ],
)
async def test_the_database_refuses_what_the_code_forgets(database: Database, statement: str) -> None:
    await store(database)
    async with database.connection() as connection:
        await connection.execute("UPDATE payment_intents SET status = 'succeeded', amount_received = 2500 WHERE id = 'pi_1'")
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.execute(statement)
