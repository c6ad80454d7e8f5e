"""Asking a gateway how things stand: by version, with all facts, and what a repeat may not do."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from careforall.kit.idempotency import Call
from careforall.kit.ids import new_id
from careforall.kit.tracing import trace_id_of
from careforall.payments.domain import DisputeFact, RefundFact, StateFact
from careforall.payments.gateways.simulator import Simulator
from careforall.payments.schemas import RefundOrder
from careforall_testing.company import company, nothing, shown
from careforall_testing.servers import ServerUrls
from careforall_testing.span_sink import span_sink, traceparent
from careforall_testing.stripe_fake import StripeFake

ORDERED = """
INSERT INTO refunds (id, intent_id, gateway, amount, status, request_key) VALUES ($1, $2, 'simulator', 10, 'PENDING', 'key')
"""


async def due(till: Any, intent: UUID) -> None:
    """Have the attempt of an intent asked about now."""
    async with till.database.connection() as connection:
        await connection.execute(
            "INSERT INTO payment_attempts (intent_id, number, gateway, status, gateway_object) VALUES ($1, 1, 'simulator', "
            "'OPEN', $2)",
            intent,
            f"pi_{intent}",
        )


async def test_a_webhook_between_asking_and_applying_makes_the_answer_old(arena: Any, servers: ServerUrls) -> None:
    """The stale answer (canceled) is thrown away; the one after the webhook (succeeded) is what counts."""
    intent, asked, told = new_id(), 0, []

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        nonlocal asked
        if not path.startswith("/v1/payment_intents/"):
            return 200, nothing(path)
        asked += 1
        if asked == 1:
            told.append(await till.tell_simulator(till.simulated("payment_intent.payment_failed", intent, status="open")))
            return 200, shown(intent, status="canceled")
        return 200, shown(intent)

    async with company(answer) as url, arena.open(servers, simulator_url=url, gateway_seconds=5.0) as till:
        await till.pledge(identifier=intent)
        await due(till, intent)
        await till.service.paying.settle_attempts()
        assert [one.status_code for one in told] == [200]
        assert asked == 2
        assert await till.steps(intent) == [("INITIATED", "AUTHORIZED"), ("AUTHORIZED", "CAPTURED")]


async def test_a_payment_that_never_stands_still_is_left_for_later(arena: Any, servers: ServerUrls) -> None:
    intent, asked = new_id(), 0

    async def answer(_method: str, _path: str) -> tuple[int, dict[str, Any]]:
        nonlocal asked
        asked += 1
        await till.tell_simulator(till.simulated("payment_intent.payment_failed", intent, status="open"))
        return 200, shown(intent, status="canceled")

    async with company(answer) as url, arena.open(servers, simulator_url=url, gateway_seconds=5.0) as till:
        await till.pledge(identifier=intent)
        await due(till, intent)
        assert await till.service.paying.settle_attempts() == 1
        assert asked == 3
        assert (await till.row(intent))["status"] == "INITIATED"


async def test_an_unknown_attempt_stays_unknown_when_it_cannot_be_asked_about(arena: Any, servers: ServerUrls) -> None:
    """A repeat that was kept back says nothing about the first call: taking it for a refusal would make a second object."""
    intent = new_id()

    async def answer(_method: str, _path: str) -> tuple[int, dict[str, Any]]:
        return 500, {}

    async with company(answer) as url, arena.open(servers, simulator_url=url) as till:
        await till.pledge(identifier=intent)
        assert await till.service.paying.pay(intent) is None
        for _ in range(7):
            async with till.database.connection() as connection:
                await connection.execute("UPDATE payment_attempts SET ask_at = clock_timestamp() WHERE intent_id = $1", intent)
            await till.service.paying.settle_attempts()
        [row] = await till.database.fetch("SELECT status, asked FROM payment_attempts WHERE intent_id = $1", intent)
        assert (row["status"], row["asked"]) == ("UNKNOWN", 7)


async def test_an_order_that_was_sent_before_is_looked_for_and_not_sent_again(arena: Any, servers: ServerUrls) -> None:
    """The gateway has forgotten the key, so a second order would be a second refund."""
    intent, orders = new_id(), 0

    async def answer(method: str, path: str) -> tuple[int, dict[str, Any]]:
        nonlocal orders
        if method == "POST":
            orders += 1
            return 500, {}
        if path.startswith("/v1/refunds?"):
            made = {"id": "re_1", "object": "refund", "amount": 1000, "currency": "eur", "status": "succeeded", "created": 2}
            made |= {"payment_intent": f"pi_{intent}", "metadata": {"refund_id": str(refund), "intent_id": str(intent)}}
            return 200, {**nothing(path), "data": [made]}
        return 200, shown(intent) if "/payment_intents/" in path else nothing(path)

    async with company(answer) as url, arena.open(servers, simulator_url=url, gateway_seconds=5.0) as till:
        await till.pledge(identifier=intent)
        await till.tell_simulator(till.simulated("payment_intent.succeeded", intent))
        refund = new_id()
        async with till.database.connection() as connection:
            await connection.execute(ORDERED, refund, intent)
        assert await till.service.refunding.settle_refunds() == 1
        assert orders == 0
        assert (await till.row(intent))["refunded_amount"] == Decimal("10.000")


async def test_what_is_asked_long_after_is_in_the_trace_of_the_gift_it_is_about(arena: Any, servers: ServerUrls) -> None:
    intents = [new_id(), new_id()]
    traces = {intent: traceparent() for intent in intents}

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        asked = next((intent for intent in intents if str(intent) in path), None)
        return (200, shown(asked)) if asked and "/payment_intents/" in path else (200, nothing(path))

    async with span_sink() as sink, company(answer) as url:
        gateway = {"simulator_url": url, "gateway_seconds": 5.0, "otlp_url": f"{sink.url}/v1/traces"}
        async with arena.open(servers, **gateway) as till:
            for intent in intents:
                await till.pledge(identifier=intent)
                await due(till, intent)
                async with till.database.connection() as connection:
                    await connection.execute("UPDATE payment_intents SET traceparent = $2 WHERE id = $1", intent, traces[intent])
            assert await till.service.paying.settle_attempts() == 2
            async with till.database.connection() as connection:
                await connection.execute(ORDERED, new_id(), intents[0])
            assert await till.service.refunding.settle_refunds() == 1
            await asyncio.to_thread(till.resources.tracing.close)
        found = [span.trace_id for span in sink.spans if span.name.startswith("simulator ")]
        first, second = (trace_id_of(traces[intent]) for intent in intents)
        assert set(found) == {first, second}
        assert found.count(first) > found.count(second) > 0, "the refund was asked about too"


async def test_an_order_that_a_person_repeats_is_looked_for_first_too(arena: Any, servers: ServerUrls) -> None:
    """The gateway made it and forgot the key; we never heard of it."""
    intent, orders, made = new_id(), 0, list[dict[str, Any]]()

    async def answer(method: str, path: str) -> tuple[int, dict[str, Any]]:
        nonlocal orders
        if method == "POST":
            orders += 1
            return 500, {}
        if path.startswith("/v1/refunds?"):
            return 200, {**nothing(path), "data": made}
        return 200, shown(intent) if "/payment_intents/" in path else nothing(path)

    async with company(answer) as url, arena.open(servers, simulator_url=url, gateway_seconds=5.0) as till:
        await till.pledge(identifier=intent)
        await till.tell_simulator(till.simulated("payment_intent.succeeded", intent))
        order = RefundOrder(reason="asked by the donor", amount=Decimal(10))
        call = Call(scope="refund|staff-1", key=f"once-{intent}", fingerprint=b"the order")
        first = await till.service.refunding.refund(intent, order, call=call, by="staff-1")
        sent, refund = orders, json.loads(first.body)["id"]
        body = {"id": "re_1", "object": "refund", "amount": 1000, "currency": "eur", "status": "succeeded", "created": 2}
        made.append({**body, "payment_intent": f"pi_{intent}", "metadata": {"refund_id": refund, "intent_id": str(intent)}})
        again = await till.service.refunding.refund(intent, order, call=call, by="staff-1")
        assert (first.status, again.status, sent > 0, orders) == (202, 201, True, sent)
        assert (await till.row(intent))["refunded_amount"] == Decimal("10.000")


@pytest.mark.parametrize("kind", ["refunds", "disputes"])
async def test_the_simulator_shows_each_fact_and_lists_what_changed(kind: str) -> None:
    intent = new_id()
    pages: list[str] = []
    one = {"amount": 500, "currency": "eur", "created": 5, "payment_intent": f"pi_{intent}", "status": "succeeded"}
    made: dict[str, list[dict[str, Any]]] = {
        "refunds": [{**one, "id": "re_2", "object": "refund"}, {**one, "id": "re_1", "object": "refund"}],
        "disputes": [{**one, "id": "dp_1", "object": "dispute", "status": "lost"}],
    }

    async def answer(_method: str, path: str) -> tuple[int, dict[str, Any]]:
        pages.append(path)
        if "/payment_intents/" in path:
            return 200, shown(intent)
        found = made["disputes" if path.startswith("/v1/disputes") else "refunds"]
        start = 1 if "starting_after=re_2" in path else 0
        return 200, {**nothing(path), "data": found[start : start + 1], "has_more": len(found) > start + 1}

    async with company(answer) as url:
        gateway = Simulator(url, "key", seconds=5)
        told = (await gateway.show(f"pi_{intent}")).facts
        listed: list[Any] = []
        now, after = datetime.now(UTC), ""
        while page := await gateway.list_changed(now - timedelta(hours=1), now, after=after):
            listed += page.objects
            after = page.next
            if not after:
                break
        await gateway.close()
    assert [type(fact) for fact in told] == [StateFact, RefundFact, RefundFact, DisputeFact]
    assert [fact.gateway_refund_id for fact in told if isinstance(fact, RefundFact)] == ["re_1", "re_2"]
    assert [(one.id, type(one.facts[0])) for one in listed] == [
        (f"pi_{intent}", RefundFact),
        (f"pi_{intent}", RefundFact),
        (f"pi_{intent}", DisputeFact),
    ]
    assert all(one.intent_id is None for one in listed)
    assert any(path.startswith(f"/v1/{kind}?") for path in pages)


async def test_the_next_gateway_is_used_after_a_known_failure_only(arena: Any, servers: ServerUrls) -> None:
    """The first company refuses, so the second one is paid at; where the first may have done it, nobody else is asked."""
    status = 400

    async def answer(_method: str, _path: str) -> tuple[int, dict[str, Any]]:
        return status, {"error": {"code": "account_closed", "message": "No."}}

    async with company(answer) as url, StripeFake.running() as fake:
        second = {"stripe_secret_key": fake.key, "stripe_webhook_secrets": fake.secret, "stripe_base": fake.url}
        options = {"simulator_url": url, "gateway_order": "simulator, stripe", "gateway_seconds": 5.0, **second}
        async with arena.open(servers, **options) as till:
            refused, unknown = await till.pledge(), await till.pledge()
            address = await till.service.paying.pay(refused)
            assert address is not None
            assert address.startswith(f"{fake.url}/c/pay/cs_test_")
            assert await till.service.paying.pay(refused) == address
            status = 500
            assert await till.service.paying.pay(unknown) is None
            rows = await till.database.fetch("SELECT intent_id, gateway, status FROM payment_attempts ORDER BY number")
            assert [(row["gateway"], row["status"]) for row in rows if row["intent_id"] == refused] == [
                ("simulator", "FAILED"),
                ("stripe", "OPEN"),
            ]
            assert [(row["gateway"], row["status"]) for row in rows if row["intent_id"] == unknown] == [("simulator", "UNKNOWN")]
            assert len(fake.books.sessions) == 1


async def test_a_gateway_that_is_not_set_up_cannot_be_fallen_back_to(arena: Any, servers: ServerUrls) -> None:
    with pytest.raises(ValueError, match="CAREFORALL_GATEWAY_ORDER names paypal"):
        async with arena.open(servers, gateway_order="paypal"):
            raise AssertionError("it started")
