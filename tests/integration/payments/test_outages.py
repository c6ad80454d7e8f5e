"""Redis or PostgreSQL away, and the process killed at each of its crash points: nothing is lost, nothing happens twice."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from careforall.kit import json
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats, Valkey
from careforall_testing.callers import signing_in
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

WEBHOOK = "/api/v1/payments/webhook"


async def test_a_flushed_or_killed_redis_doubles_nothing(arena: Any, servers: ServerUrls, redis_db: Valkey) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=servers.nats, redis=redis_db.url)
    async with arena.open(urls) as till:
        intents = await till.pledges([new_id() for _ in range(10)])
        events = [till.success(intent) for intent in intents]
        before = [await till.tell(event) for event in events]
        await till.cache._redis.flushall()  # noqa: SLF001 - what an operator does to Redis behind our back
        flushed = await asyncio.gather(*(till.tell(event) for event in events))
        redis_db.kill()
        killed = await asyncio.gather(*(till.tell(event) for event in events))
        for answers in (flushed, killed):
            assert [answer.content for answer in answers] == [answer.content for answer in before]
        fresh = await till.tell(till.success(await till.pledge()))
        assert fresh.json()["status"] == "processed"
        assert await till.count("payment_transitions", "payment_id = ANY($1)", intents) == 20
        assert await till.count("outbox", "aggregate_id = ANY($1)", intents) == 30


async def test_without_a_database_the_gateway_is_told_to_come_again(arena: Any, servers: ServerUrls) -> None:
    async with arena.open(servers) as till:
        intent = await till.pledge()
        event = till.success(intent)
        await till.database.close()
        answer = await till.tell(event)
        assert (answer.status_code, answer.json()["retryable"], answer.headers["retry-after"]) == (503, True, "1")
        await till.database.open()
        assert (await till.tell(event)).json()["status"] == "processed"


@pytest.fixture(name="site")
async def fx_site(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Platform]:
    """Payments alone; each test has its own process to kill."""
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    patience = {"CAREFORALL_GATEWAY_SECONDS": "0.3", "CAREFORALL_GATEWAY_TRIES": "1"}
    async with platform(urls, ["payments"], **patience) as running:
        yield running


@pytest.mark.parametrize("point", ["webhook.before_commit", "webhook.after_commit"])
async def test_a_process_killed_in_the_intake_loses_and_doubles_nothing(site: Platform, point: str) -> None:
    async with signing_in(site) as callers:
        intents = [await _intent(site, callers) for _ in range(10)]
        events = [_signed(site, intent) for intent in intents]
        await site.first.restart(CAREFORALL_CRASH_AT=f"{point}:2")
        first_alone = await _told(site, *events[0])
        acknowledged = [first_alone, *await asyncio.gather(*(_told(site, *event) for event in events[1:]))]
        await site.first.wait_dead()
        assert None in acknowledged
        site.first.launch(CAREFORALL_CRASH_AT="")
        await site.first.wait_ready()
        for first, event in zip(acknowledged, events, strict=True):
            again = await _told(site, *event)
            assert again is not None
            assert again.json()["new_status"] == "CAPTURED"
            assert first is None or first.content == again.content
        async with site.database("payments") as opened:
            assert await opened.fetchval("SELECT count(*) FROM payment_transitions") == 20
            assert await opened.fetchval("SELECT count(*) FROM outbox WHERE event_type = 'payments.captured'") == 10


@pytest.mark.parametrize("point", ["refund.before_gateway", "refund.after_gateway_before_record", "refund.after_record"])
async def test_a_process_killed_in_a_refund_finishes_it_once(site: Platform, point: str) -> None:
    async with signing_in(site) as callers:
        intent = await _intent(site, callers)
        await _told(site, *_signed(site, intent))
        await site.first.restart(CAREFORALL_CRASH_AT=point)
        headers = {**callers.admin(), "Idempotency-Key": f"refund-{intent}"}
        path, body = f"/api/v1/payments/{intent}/refund", {"amount": "10.00", "reason": "asked by the donor"}
        with pytest.raises(httpx2.TransportError):
            await site.client.post(path, json=body, headers=headers)
        await site.first.wait_dead()
        site.first.launch(CAREFORALL_CRASH_AT="")
        await site.first.wait_ready()

        async def refunded() -> bool:
            async with site.database("payments") as opened:
                return bool(await opened.fetchval("SELECT refunded_amount = 10 FROM payment_intents"))

        await eventually(refunded, within_s=20)
        again = await site.client.post(path, json=body, headers=headers)
        assert (again.status_code, again.json()["status"], again.json()["total_refunded"]) == (201, "SUCCEEDED", "10.00")
        async with site.database("payments") as opened:
            assert await opened.fetchval("SELECT count(*) FROM refunds") == 1
            assert await opened.fetchval("SELECT count(*) FROM outbox WHERE event_type = 'payments.refunded'") == 1


async def _intent(site: Platform, callers: Any) -> str:
    body = {"subject_type": "DONATION", "subject_id": str(new_id()), "amount": "25.00", "currency": "EUR"}
    async with client_of(site.first.internal_url) as inside:
        headers = callers.service("orders", "payments")
        answer = await inside.post("/api/v1/payments/intent", json=body, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _signed(site: Platform, intent: str) -> tuple[bytes, dict[str, str]]:
    body = json.encode({"event_id": f"evt_{intent}", "payment_intent_id": intent, "status": "SUCCESS", "amount": "25.00"})
    secret = site.environment["CAREFORALL_WEBHOOK_SECRETS"].encode()
    return body, {"X-Signature": "sha256=" + hmac.new(secret, body, hashlib.sha256).hexdigest()}


async def _told(site: Platform, body: bytes, headers: dict[str, str]) -> httpx2.Response | None:
    """Send an event; None where the process died before it answered."""
    try:
        return await site.client.post(WEBHOOK, content=body, headers=headers)
    except httpx2.TransportError:
        return None
