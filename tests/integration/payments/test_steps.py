"""What is kept of the steps that a checkout asks for, and for how long."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.contracts.payments import IntentStep, PaymentStep
from careforall.kit import json
from careforall.kit.ids import new_id
from careforall_testing.company import company, nothing, shown
from careforall_testing.servers import ServerUrls


async def test_answers_are_forgotten_after_ninety_days_once_their_payment_has_ended(till: Any) -> None:
    ended, open_still = await till.pledge(), await till.pledge()
    old, young, asked, unanswered = (new_id() for _ in range(4))
    assert [await _cancel(till, ended, step) for step in (old, young)] == ["ENDED", "ENDED"]
    await _note(till, asked, open_still, answer=b'{"outcome":"DECLINED"}')
    await _note(till, unanswered, ended, answer=None)
    await _age(till, 91, old, asked, unanswered)
    await _age(till, 89, young)

    await till.service.steps.forget()

    kept = await till.database.fetch("SELECT step_id FROM payment_steps WHERE intent_id IN ($1, $2)", ended, open_still)
    assert {row["step_id"] for row in kept} == {young, asked, unanswered}
    before = [(await till.row(ended))["version"], await till.told(ended)]
    assert await _cancel(till, ended, old) == "ENDED", "the payment's state says what the answer said"
    assert [(await till.row(ended))["version"], await till.told(ended)] == before


async def test_forgetting_goes_on_until_nothing_old_is_left(till: Any) -> None:
    ended = await till.pledge()
    await _cancel(till, ended, new_id())
    await till.database.run(
        lambda connection: connection.execute(
            """
            INSERT INTO payment_steps (step_id, intent_id, what, answer, answered_at)
            SELECT gen_random_uuid(), $1, 'CANCEL', '', clock_timestamp() - interval '100 days' FROM generate_series(1, 2500)
            """,
            ended,
        )
    )
    await till.service.steps.forget()
    assert await till.count("payment_steps", "intent_id = $1", ended) == 1


@pytest.mark.parametrize(("what", "done", "end"), [("capture", "succeeded", "CAPTURED"), ("cancel", "canceled", "ENDED")])
async def test_held_money_is_no_answer_of_what_should_take_it_or_let_it_go(
    arena: Any, servers: ServerUrls, what: str, done: str, end: str
) -> None:
    """The gateway refuses at first, without having done anything."""
    intent, step, asked = new_id(), new_id(), 0
    held = {"status": "requires_capture", "amount_received": 0, "amount_capturable": 2500}

    async def answer(method: str, path: str) -> tuple[int, dict[str, Any]]:
        nonlocal asked
        if path.startswith(("/v1/refunds?", "/v1/disputes?")):
            return 200, nothing(path)
        asked += method == "POST"
        if method == "POST" and asked == 1:
            return 402, {"error": {"type": "card_error", "code": "try_again_later", "message": "not now"}}
        return 200, shown(intent, **held) if asked < 2 else shown(intent, status=done, amount_received=2500 * (what == "capture"))

    async with company(answer) as url, arena.open(servers, simulator_url=url, gateway_seconds=5.0) as till:
        await till.pledge(identifier=intent)
        await till.tell_simulator(till.simulated("payment_intent.amount_capturable_updated", intent, **held))
        assert [await _asked(till, what, intent, step) for _ in range(3)] == ["PENDING", end, end]
        assert asked == 2


async def _asked(till: Any, what: str, intent: UUID, step: UUID) -> str:
    ask = getattr(till.service.steps, what)
    answer = await ask(json.encode(IntentStep(step_id=step, intent_id=intent)))
    return msgspec.json.decode(answer, type=PaymentStep).outcome


async def _cancel(till: Any, intent: UUID, step: UUID) -> str:
    return await _asked(till, "cancel", intent, step)


async def _note(till: Any, step: UUID, intent: UUID, *, answer: bytes | None) -> None:
    await till.database.run(
        lambda connection: connection.execute(
            """
            INSERT INTO payment_steps (step_id, intent_id, what, answer, answered_at)
            VALUES ($1, $2, 'AUTHORIZE', $3::bytea, CASE WHEN $3::bytea IS NULL THEN NULL ELSE clock_timestamp() END)
            """,
            step,
            intent,
            answer,
        )
    )


async def _age(till: Any, days: int, *steps: UUID) -> None:
    await till.database.run(
        lambda connection: connection.execute(
            """
            UPDATE payment_steps
            SET created_at = created_at - make_interval(days => $1), answered_at = answered_at - make_interval(days => $1)
            WHERE step_id = ANY($2::uuid[])
            """,
            days,
            list(steps),
        )
    )
