"""The generic endpoint: which outcome when, the same bytes for every copy, and nothing applied twice."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from careforall.kit import json
from careforall.kit.ids import new_id

HOT, FRAMEWORK = True, False
PROCESSED = {"status": "processed", "old_status": "INITIATED", "new_status": "CAPTURED", "version": 3}


@pytest.mark.parametrize("hot", [HOT, FRAMEWORK])
async def test_a_success_records_both_steps_and_tells_of_both(till: Any, *, hot: bool) -> None:
    intent = await till.pledge()
    answer = await till.tell(till.success(intent), hot=hot)
    assert (answer.status_code, answer.json()) == (200, PROCESSED)
    assert await till.steps(intent) == [("INITIATED", "AUTHORIZED"), ("AUTHORIZED", "CAPTURED")]
    assert await till.told(intent) == ["payments.intent_created", "payments.authorized", "payments.captured"]
    row = await till.row(intent)
    assert (row["status"], row["captured_amount"], row["version"], row["captured_via"]) == ("CAPTURED", 25, 3, "generic")
    assert await till.count("payment_attempts", "intent_id = $1 AND gateway = 'generic' AND status = 'SUCCEEDED'", intent) == 1


@pytest.mark.parametrize("hot", [HOT, FRAMEWORK])
async def test_a_gateway_may_add_to_the_address(till: Any, *, hot: bool) -> None:
    intent = await till.pledge()
    answer = await till.tell(till.success(intent), hot=hot, query="?source=gateway")
    assert (answer.status_code, answer.json()) == (200, PROCESSED)


async def test_copies_sent_at_once_get_the_same_bytes_and_one_effect(till: Any) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    answers = await asyncio.gather(*(till.tell(event, hot=bool(number % 2)) for number in range(40)))
    assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
    later = await till.tell(event)
    assert later.content == answers[0].content
    assert len(await till.told(intent)) == 3
    assert await till.count("webhook_events", "payment_id = $1", intent) == 1


async def test_a_repeat_that_redis_forgot_is_answered_from_the_database(till: Any) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    first = await till.tell(event)
    await till.cache.drop(f"webhook:generic:e:{event['event_id']}")
    again = await till.tell(event)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert len(await till.told(intent)) == 3


async def test_copies_over_two_processes_have_one_effect(till: Any, arena: Any, servers: Any) -> None:
    async with arena.open(servers, database=till.database.dsn) as other:
        for _ in range(5):
            intents = await till.pledges([new_id() for _ in range(8)])
            events = [till.success(intent) for intent in intents]
            answers = await asyncio.gather(*(one.tell(event) for event in events for one in (till, other) * 3))
            assert {(answer.status_code, answer.content) for answer in answers} == {(200, json.encode(PROCESSED))}
            for intent in intents:
                assert len(await till.told(intent)) == 3


async def test_one_key_raced_with_two_payments_pays_one_of_them(till: Any, arena: Any, servers: Any) -> None:
    async with arena.open(servers, database=till.database.dsn) as other:
        for number in range(5):
            intents = await till.pledges([new_id(), new_id()])
            key = f"raced-{number}-{new_id()}"
            answers = await asyncio.gather(
                *(one.tell(till.success(intent), key=key) for one, intent in zip((till, other), intents, strict=True))
            )
            assert sorted(answer.status_code for answer in answers) == [200, 422]
            states = sorted([(await till.row(intent))["status"] for intent in intents])
            assert states == ["CAPTURED", "INITIATED"]


@pytest.mark.parametrize("named", ["header", "event id"])
async def test_another_body_under_a_known_key_is_kept_alarmed_and_not_applied(till: Any, named: str) -> None:
    intent, other = await till.pledges([new_id(), new_id()])
    event = till.success(intent)
    key = f"key-{new_id()}" if named == "header" else ""
    first = await till.tell(event, key=key)
    forged = {**event, "payment_intent_id": str(other)}
    for _ in range(3):
        refused = await till.tell(forged, key=key)
        assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
    assert (await till.row(other))["status"] == "INITIATED"
    alarms = await till.database.fetch("SELECT kind FROM payment_alarms WHERE payment_id = $1", other)
    assert [alarm["kind"] for alarm in alarms] == ["key_reused"]
    assert await till.count("webhook_bodies", "body = $1", json.encode(forged)) >= 1
    assert (await till.tell(event, key=key)).content == first.content


async def test_one_event_under_many_keys_has_one_effect_and_one_answer(till: Any) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    answers = [await till.tell(event, key=f"key-{number}-{intent}") for number in range(3)]
    answers.append(await till.tell(event))
    assert {answer.content for answer in answers} == {answers[0].content}
    assert len(await till.told(intent)) == 3
    forged = await till.tell({**event, "status": "FAILED"}, key=f"key-2-{intent}")
    assert forged.status_code == 422


async def test_without_ids_the_body_is_the_key(till: Any) -> None:
    intent = await till.pledge()
    event = till.success(intent, event_id=None)
    first, again = await till.tell(event), await till.tell(event)
    assert first.content == again.content
    respaced = await till.tell(json.encode(event).replace(b",", b", "))
    assert respaced.json()["reason"] == "duplicate_transition"
    assert len(await till.told(intent)) == 3


@pytest.mark.parametrize("key", ["", "x" * 10_000, "schl\u00fcssel", "a b\tc"])
async def test_strange_keys_are_keys_all_the_same(till: Any, key: str) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    headers = {"X-Idempotency-Key": key.encode("latin-1")}
    answers = [await till.tell(event, **headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content


async def test_out_of_order_and_repeated_states_are_ignored_in_words(till: Any) -> None:
    intent = await till.pledge()
    now = datetime.now(UTC)
    await till.tell(till.success(intent, timestamp=now.isoformat()))
    older = await till.tell(till.success(intent, status="AUTHORIZED", timestamp=(now - timedelta(minutes=1)).isoformat()))
    assert (older.status_code, older.json()["status"], older.json()["reason"]) == (200, "ignored", "out_of_order")
    unstamped = await till.tell(till.success(intent, status="AUTHORIZED"))
    assert unstamped.json()["reason"] == "out_of_order"
    newer = await till.tell(till.success(intent, status="AUTHORIZED", timestamp=(now + timedelta(minutes=1)).isoformat()))
    assert (newer.status_code, newer.json()["status"], newer.json()["reason"]) == (400, "rejected", "invalid_transition")
    again = await till.tell(till.success(intent))
    assert (again.status_code, again.json()["reason"]) == (200, "duplicate_transition")
    assert older.json()["message"]
    assert again.json()["message"]
    assert (await till.row(intent))["version"] == 3


async def test_refused_answers_are_replayed_byte_for_byte_too(till: Any) -> None:
    intent = await till.pledge()
    await till.tell(till.success(intent, status="FAILED", reason="no_money"))
    event = till.success(intent)
    first = await till.tell(event)
    await till.cache.drop(f"webhook:generic:e:{event['event_id']}")
    again = await till.tell(event)
    assert (first.status_code, first.json()["reason"]) == (400, "invalid_transition")
    assert (again.status_code, again.content) == (400, first.content)


async def test_a_generic_failure_is_final_and_a_capture_after_it_alarms(till: Any) -> None:
    intent = await till.pledge()
    failed = await till.tell(till.success(intent, status="FAILED", reason="no_money"))
    assert failed.json() == {"status": "processed", "old_status": "INITIATED", "new_status": "FAILED", "version": 2}
    assert await till.told(intent) == ["payments.intent_created", "payments.failed"]
    late = await till.tell(till.success(intent))
    assert (late.status_code, late.json()["reason"]) == (400, "invalid_transition")
    assert await till.count("payment_alarms", "payment_id = $1 AND kind = 'captured_after_failed'", intent) == 1
    assert (await till.row(intent))["status"] == "FAILED"


@pytest.mark.parametrize("changes", [{"amount": "24.99"}, {"currency": "USD"}, {"amount": "NaN"}, {"amount": "1e400"}])
async def test_another_amount_is_rejected_kept_and_alarmed(till: Any, changes: dict[str, str]) -> None:
    intent = await till.pledge()
    answer = await till.tell(till.success(intent, **changes))
    assert (answer.status_code, answer.json()["status"], answer.json()["reason"]) == (400, "rejected", "amount_mismatch")
    assert (await till.row(intent))["status"] == "INITIATED"
    assert await till.count("payment_alarms", "payment_id = $1 AND kind = 'amount_mismatch'", intent) == 1
    assert await till.count("webhook_events", "payment_id = $1 AND outcome = 'REJECTED'", intent) == 1


async def test_authorised_money_is_captured_or_released(till: Any) -> None:
    captured, released = await till.pledges([new_id(), new_id()])
    for intent in (captured, released):
        await till.tell(till.success(intent, status="AUTHORIZED"))
    await till.tell(till.success(captured, status="CAPTURED"))
    voided = await till.tell(till.success(released, status="REFUNDED"))
    assert (voided.json()["old_status"], voided.json()["new_status"]) == ("AUTHORIZED", "REFUNDED")
    assert (await till.told(released))[1:] == ["payments.authorized", "payments.voided"]
    assert (await till.told(captured))[1:] == ["payments.authorized", "payments.captured"]
    assert (await till.row(released))["captured_amount"] == 0


async def test_a_refund_told_as_a_state_gives_back_everything_once(till: Any) -> None:
    intent = await till.pledge()
    await till.tell(till.success(intent))
    answer = await till.tell(till.success(intent, status="REFUNDED"))
    assert answer.json()["new_status"] == "REFUNDED"
    assert (await till.told(intent))[3:] == ["payments.refunded"]
    assert (await till.row(intent))["refunded_amount"] == Decimal(25)
    assert await till.count("refunds", "intent_id = $1 AND status = 'SUCCEEDED' AND amount = 25", intent) == 1


@pytest.mark.parametrize(
    "timestamp",
    [
        *("yesterday", 10**30, -5, [], {}, "", "2026-02-30T00:00:00Z", True),
        *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    ],
)
async def test_a_strange_timestamp_changes_nothing(till: Any, timestamp: Any) -> None:
    intent = await till.pledge()
    assert (await till.tell(till.success(intent, timestamp=timestamp))).json() == PROCESSED


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"", 400, "malformed_json"),
        (b"{", 400, "malformed_json"),
        (b"[1]", 422, "invalid_value"),
        (b'{"status": "SUCCESS"}', 422, "invalid_value"),
        (b'{"status": "PAID", "payment_id": "x"}', 422, "invalid_value"),
        (b'{"status": "SUCCESS", "payment_id": "x", "amount": "much"}', 422, "invalid_value"),
        (b'{"status": "SUCCESS", "payment_id": "not an id"}', 404, "payment_not_found"),
    ],
)
@pytest.mark.parametrize("hot", [HOT, FRAMEWORK])
async def test_signed_nonsense_is_refused_and_kept(till: Any, body: bytes, status: int, code: str, *, hot: bool) -> None:
    answers = [await till.tell(body, hot=hot) for _ in range(2)]
    assert [(answer.status_code, answer.json()["code"]) for answer in answers] == [(status, code)] * 2
    assert answers[0].content == answers[1].content
    assert answers[0].headers["content-type"] == "application/problem+json"
    assert await till.count("webhook_bodies", "body = $1", body) == 1


@pytest.mark.parametrize("hot", [HOT, FRAMEWORK])
async def test_an_unsigned_event_leaves_nothing_behind(till: Any, *, hot: bool) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    refused = await till.tell(event, secret="guessed", hot=hot)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_signature")
    assert await till.count("webhook_bodies", "body = $1", json.encode(event)) == 0
    assert (await till.row(intent))["status"] == "INITIATED"
    assert (await till.tell(event, secret="generic-secret-two")).json() == PROCESSED


async def test_a_forged_repeat_learns_nothing_from_the_stored_answer(till: Any) -> None:
    intent = await till.pledge()
    event = till.success(intent)
    await till.tell(event)
    assert (await till.tell(event, secret="guessed")).status_code == 401


@pytest.mark.parametrize(
    ("reason", "kept"),
    [("no\u0000money\r\n", "no money  "), ("card 4111 1111 1111 1111 refused", "[redacted]"), ("x" * 5000, "x" * 200)],
)
async def test_a_strange_reason_is_stored_as_harmless_text(till: Any, reason: str, kept: str) -> None:
    intent = await till.pledge()
    event = till.success(intent, status="FAILED", reason=reason, event_id="evt\u0000" + str(new_id()), event_type="a\u0000b")
    assert (await till.tell(event)).json()["new_status"] == "FAILED"
    assert (await till.row(intent))["reason"] == kept


async def test_a_lone_surrogate_is_refused_not_a_crash(till: Any) -> None:
    intent = await till.pledge()
    body = b'{"payment_intent_id": "%b", "status": "FAILED", "reason": "\\ud800"}' % str(intent).encode()
    assert (await till.tell(body)).status_code in {400, 422}
    assert (await till.row(intent))["status"] == "INITIATED"
