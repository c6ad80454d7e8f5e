"""What is kept of the steps that a checkout asks for, and for how long."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts.payments import IntentStep, PaymentStep
from careforall.kit import json
from careforall.kit.ids import new_id


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


async def _cancel(till: Any, intent: UUID, step: UUID) -> str:
    answer = await till.service.steps.cancel(json.encode(IntentStep(step_id=step, intent_id=intent)))
    return msgspec.json.decode(answer, type=PaymentStep).outcome


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
