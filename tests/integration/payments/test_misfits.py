"""Events that did not fit have the gateway asked soon; and one process at a time compares."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

from careforall.kit.ids import new_id
from careforall_testing.company import company, nothing, shown
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls


async def outcomes(till: Any) -> list[tuple[str, str]]:
    rows = await till.database.fetch("SELECT reason, outcome FROM reconciliation_looks ORDER BY event_id")
    return [(row["reason"], row["outcome"]) for row in rows]


async def again(till: Any) -> int:
    """Look at once at what would be looked at later."""
    async with till.database.connection() as connection:
        await connection.execute("UPDATE reconciliation_looks SET ask_at = clock_timestamp()")
    looked: int = await till.service.misfits.look()
    return looked


async def test_a_misfit_has_its_payment_asked_about_once(arena: Any, servers: ServerUrls) -> None:
    asked: list[str] = []

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        if "/payment_intents/" not in path:
            return 200, nothing(path)
        asked.append(path)
        return 200, shown(UUID(path.rpartition("pi_")[2]))

    async with company(answer) as url, arena.open(servers, simulator_url=url, gateway_seconds=5.0) as till:
        differs, fits, quiet = [await till.pledge() for _ in range(3)]
        await till.tell_simulator(till.simulated("payment_intent.succeeded", differs, amount_received=9900))
        await till.tell_simulator(till.simulated("payment_intent.succeeded", fits))
        await till.tell_simulator(till.simulated("payment_intent.succeeded", fits))
        await till.tell_simulator(till.simulated("payment_intent.created", quiet))
        await till.tell(till.success(quiet, status="REFUNDED"))
        assert await till.service.misfits.look() == 1
        assert await outcomes(till) == [("amount_mismatch", "INITIATED > CAPTURED")]
        assert (await till.row(differs))["status"] == "CAPTURED"
        assert len(asked) == 1
        assert await again(till) == 0
        await till.tell_simulator(till.simulated("payment_intent.canceled", differs))
        assert await till.service.misfits.look() == 1
        assert await outcomes(till) == [("amount_mismatch", "INITIATED > CAPTURED"), ("invalid_transition", "agrees")]


async def test_a_misfit_waits_for_its_gateway_and_for_its_payment(arena: Any, servers: ServerUrls) -> None:
    away, early = True, new_id()

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        if away:
            return 500, {}
        return 200, shown(UUID(path.rpartition("pi_")[2])) if "/payment_intents/" in path else nothing(path)

    async with company(answer) as url, arena.open(servers, simulator_url=url) as till:
        known = await till.pledge()
        await till.tell_simulator(till.simulated("payment_intent.succeeded", known, amount_received=1))
        await till.tell_simulator(till.simulated("payment_intent.succeeded", early))
        assert await till.service.misfits.look() == 2
        assert {outcome for _, outcome in await outcomes(till)} == {""}
        away = False
        assert await again(till) == 2
        assert sorted(await outcomes(till)) == [("amount_mismatch", "INITIATED > CAPTURED"), ("unknown_payment", "")]
        await till.pledge(identifier=early)
        await again(till)
        assert sorted(await outcomes(till)) == [("amount_mismatch", "INITIATED > CAPTURED"), ("unknown_payment", "agrees")]


async def test_two_processes_work_on_one_run(arena: Any, servers: ServerUrls) -> None:
    """Whoever comes second leaves the run alone, however slow the first one is."""
    reached, go_on, listings = asyncio.Event(), asyncio.Event(), 0

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        nonlocal listings
        listings += path.startswith("/v1/payment_intents?")
        reached.set()
        await go_on.wait()
        return 200, nothing(path)

    options: dict[str, Any] = {"gateway_seconds": 30.0}
    async with company(answer) as url, arena.open(servers, simulator_url=url, **options) as first:
        async with arena.open(servers, database=first.database.dsn, simulator_url=url, **options) as second:
            working = asyncio.create_task(first.service.reconciling.work())
            await reached.wait()
            assert await second.service.reconciling.work() == 0
            assert await second.count("reconciliation_runs", "status = 'RUNNING'") == 1
            go_on.set()
            assert await working == 2
            assert await second.service.reconciling.work() == 0
        rows = await first.database.fetch("SELECT kind, status, until - since AS span FROM reconciliation_runs ORDER BY id")
        assert [(row["kind"], row["status"], row["span"].total_seconds()) for row in rows] == [
            ("HOURLY", "FINISHED", 86_400),
            ("DAILY", "FINISHED", 172_800),
        ]
        assert listings == 24 + 48


async def test_the_next_hourly_run_begins_where_the_last_one_came_to(arena: Any, servers: ServerUrls) -> None:
    """Also after a stop: what was not reached is not forgotten, for a week at most."""
    away = True

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        return (500, {}) if away else (200, nothing(path))

    async with company(answer) as url, arena.open(servers, simulator_url=url) as till:

        async def hourly() -> Any:
            return await till.database.fetchrow(
                "SELECT *, since = (SELECT since FROM reconciliation_runs WHERE kind = 'HOURLY' ORDER BY id LIMIT 1)"
                " - interval '10 minutes' AS goes_on FROM reconciliation_runs WHERE kind = 'HOURLY' ORDER BY id DESC LIMIT 1"
            )

        await till.service.reconciling.work()
        stopped = await hourly()
        assert (stopped["status"], stopped["reached"] == stopped["since"]) == ("STOPPED", True)
        assert "500" in stopped["reason"]
        away = False
        async with till.database.connection() as connection:
            await connection.execute("UPDATE reconciliation_runs SET created_at = created_at - interval '1 hour'")

        async def finished() -> bool:
            await till.service.reconciling.work()
            found = await hourly()
            async with till.database.connection() as connection:
                await connection.execute("UPDATE reconciliation_runs SET created_at = created_at - interval '1 hour'")
            return bool(found["status"] == "FINISHED")

        await eventually(finished, within_s=20, every_s=0.5, what="the breaker lets calls through")
        assert (await hourly())["goes_on"]


async def test_the_setting_keeps_everything_off(arena: Any, servers: ServerUrls) -> None:
    async with arena.open(servers, reconcile=False) as till:
        await till.tell_simulator(till.simulated("payment_intent.succeeded", await till.pledge(), amount_received=1))
        assert (await till.service.misfits.look(), await till.service.reconciling.work()) == (0, 0)
        assert await till.count("reconciliation_runs") == 0
