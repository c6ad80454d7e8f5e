"""Refunds ordered by staff: admitted under a lock, carried out once, repeatable by key, finished after a crash."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
import pytest

from careforall.kit import json
from careforall.kit.errors import IdempotencyKeyInUse, IdempotencyKeyReused, Problem
from careforall.kit.idempotency import Answer, Call, fingerprint
from careforall.kit.ids import new_id
from careforall.payments.errors import NotRefundable, PaymentNotFound, RefundTooLarge
from careforall.payments.schemas import RefundOrder


def call_of(key: str, order: RefundOrder, payment: UUID) -> Call:
    return Call(scope="refund|staff-1", key=key, fingerprint=fingerprint(str(payment), json.encode(order)))


async def refund(till: Any, payment: UUID, amount: str | None = None, *, key: str = "") -> Answer:
    order = RefundOrder(reason="asked by the donor", amount=Decimal(amount) if amount else None)
    call = call_of(key or str(new_id()), order, payment)
    answer: Answer = await till.service.refunding.refund(payment, order, call=call, by="staff-1")
    return answer


async def captured(till: Any) -> UUID:
    intent: UUID = await till.pledge()
    await till.tell(till.success(intent))
    return intent


async def by_simulator(till: Any) -> UUID:
    """Captured by a gateway that cannot be reached now."""
    intent: UUID = await till.pledge()
    await till.tell_simulator(till.simulated("payment_intent.succeeded", intent))
    return intent


async def test_partial_refunds_and_then_the_rest(till: Any) -> None:
    intent = await captured(till)
    first, rest = await refund(till, intent, "10.00"), await refund(till, intent)
    assert (first.status, json_of(first)["status"], json_of(first)["total_refunded"]) == (201, "SUCCEEDED", "10.00")
    assert (json_of(rest)["amount"], json_of(rest)["payment_status"]) == ("15.00", "REFUNDED")
    assert (await till.told(intent))[3:] == ["payments.refunded"] * 2
    assert await till.steps(intent) == [("INITIATED", "AUTHORIZED"), ("AUTHORIZED", "CAPTURED"), ("CAPTURED", "REFUNDED")]


async def test_a_repeat_gets_the_first_answer_byte_for_byte(till: Any) -> None:
    intent = await captured(till)
    first = await refund(till, intent, "10.00", key=f"a-{intent}")
    await refund(till, intent, "5.00")
    again = await refund(till, intent, "10.00", key=f"a-{intent}")
    assert (again.body, again.replayed) == (first.body, True)
    with pytest.raises(IdempotencyKeyReused):
        await refund(till, intent, "1.00", key=f"a-{intent}")
    assert (await till.row(intent))["refunded_amount"] == Decimal(15)


async def test_one_key_sent_at_once_refunds_once(till: Any) -> None:
    intent = await captured(till)
    outcomes = await asyncio.gather(*(refund(till, intent, "10.00", key=f"b-{intent}") for _ in range(8)), return_exceptions=True)
    bodies = {outcome.body for outcome in outcomes if isinstance(outcome, Answer)}
    others = [outcome for outcome in outcomes if not isinstance(outcome, Answer)]
    assert len(bodies) == 1
    assert all(isinstance(other, IdempotencyKeyInUse) for other in others)
    assert await till.count("refunds", "intent_id = $1", intent) == 1


async def test_refunds_ordered_at_once_never_exceed_what_was_captured(till: Any) -> None:
    intent = await captured(till)
    outcomes = await asyncio.gather(*(refund(till, intent, "10.00") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(outcome, Answer) for outcome in outcomes) == 2
    assert all(isinstance(outcome, Answer | RefundTooLarge) for outcome in outcomes)
    assert (await till.row(intent))["refunded_amount"] == Decimal(20)


@pytest.mark.parametrize(
    ("amount", "code"), [("25.01", "refund_exceeds_captured"), ("0.001", "too_many_decimals"), ("-1", "not_positive")]
)
async def test_an_impossible_amount_is_refused_and_nothing_is_kept(till: Any, amount: str, code: str) -> None:
    intent = await captured(till)
    with pytest.raises(Problem) as refused:
        await refund(till, intent, amount)
    assert (refused.value.status, refused.value.errors[0].code) == (422, code)
    assert await till.count("refunds", "intent_id = $1", intent) == 0


async def test_only_captured_money_goes_back(till: Any) -> None:
    with pytest.raises(NotRefundable):
        await refund(till, await till.pledge())
    with pytest.raises(PaymentNotFound):
        await refund(till, new_id())


async def test_a_refund_nobody_could_be_asked_about_stays_pending_and_limits_the_next(till: Any) -> None:
    intent = await by_simulator(till)
    pending = await refund(till, intent, "20.00", key=f"c-{intent}")
    assert (pending.status, json_of(pending)["status"]) == (202, "PENDING")
    with pytest.raises(RefundTooLarge):
        await refund(till, intent, "10.00")
    assert (await till.row(intent))["refunded_amount"] == 0


async def test_a_pending_refund_may_be_ordered_again_at_once_and_asks_by_itself_less_and_less(till: Any) -> None:
    intent = await by_simulator(till)
    refunding = till.service.refunding
    first = json_of(await refund(till, intent, "20.00", key=f"c-{intent}"))
    for _ in range(3):
        async with till.database.connection() as connection:
            await connection.execute("UPDATE refunds SET retry_at = now() WHERE intent_id = $1", intent)
        assert await refunding.settle_refunds() == 1
    assert await refunding.settle_refunds() == 0
    again = await refund(till, intent, "20.00", key=f"c-{intent}")
    assert (again.status, json_of(again)["id"], json_of(again)["status"]) == (202, first["id"], "PENDING")


async def test_a_refund_that_somebody_works_on_is_not_ordered_besides(till: Any) -> None:
    intent = await by_simulator(till)
    await refund(till, intent, "20.00", key=f"w-{intent}")
    async with till.database.connection() as connection:
        await connection.execute("UPDATE refunds SET lease_until = now() + interval '1 minute' WHERE intent_id = $1", intent)
    with pytest.raises(IdempotencyKeyInUse):
        await refund(till, intent, "20.00", key=f"w-{intent}")
    assert await till.service.refunding.settle_refunds() == 0


async def test_a_webhook_settles_a_pending_refund_once(till: Any) -> None:
    intent = await by_simulator(till)
    ordered = json_of(await refund(till, intent, "20.00", key=f"d-{intent}"))
    told = till.refunded(intent, 2000, metadata={"refund_id": ordered["id"], "intent_id": str(intent)})
    assert (await till.tell_simulator(told)).json()["status"] == "processed"
    repeat = await refund(till, intent, "20.00", key=f"d-{intent}")
    assert (repeat.status, repeat.replayed, json_of(repeat)["status"]) == (201, True, "SUCCEEDED")
    assert await till.count("refunds", "intent_id = $1", intent) == 1
    assert (await till.row(intent))["refunded_amount"] == Decimal(20)


async def test_a_failed_refund_frees_its_amount(till: Any) -> None:
    intent = await by_simulator(till)
    ordered = json_of(await refund(till, intent, "20.00"))
    told = till.refunded(intent, 2000, status="failed", metadata={"refund_id": ordered["id"], "intent_id": str(intent)})
    await till.tell_simulator(told)
    assert (await refund(till, intent, "25.00")).status == 202
    assert (await till.row(intent))["refunded_amount"] == 0


def json_of(answer: Answer) -> dict[str, Any]:

    found: dict[str, Any] = msgspec.json.decode(answer.body)
    return found
