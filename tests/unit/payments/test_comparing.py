"""Every pair of what a gateway says and what we hold falls into one bucket."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from careforall.contracts.payments import PaymentStatus
from careforall.kit.ids import new_id
from careforall.payments.comparing import Bucket, compare
from careforall.payments.domain import Intent, RefundFact, StateFact
from careforall.payments.gateways.base import GatewayObject
from careforall.payments.sweeping import Exhausted, Pace, Pair, name_of

AMOUNT = Decimal("25.00")


def ours(status: PaymentStatus, *, captured: bool | None = None, gateway_object: str = "pi_1") -> Intent:
    taken = status in {"CAPTURED", "REFUNDED"} if captured is None else captured
    facts: dict[str, Any] = {
        **dict.fromkeys(Intent.__struct_fields__, None),
        "id": new_id(),
        "amount": AMOUNT,
        "currency": "EUR",
        "status": status,
        "status_at": datetime.now(UTC),
        "captured_amount": AMOUNT if taken else Decimal(0),
        "gateway_object": gateway_object if status not in {"INITIATED", "FAILED"} else "",
    }
    return Intent(**facts)


def theirs(target: PaymentStatus | None, *, amount: str = "25.00", currency: str = "EUR", named: str = "pi_1") -> GatewayObject:
    if target is None:
        return GatewayObject(id=named)
    fact = StateFact(target=target, amount=Decimal(amount), currency=currency, gateway_object=named)
    refund = RefundFact(gateway_refund_id="re", refund_id=new_id(), amount=Decimal(1), currency=currency, status="SUCCEEDED")
    return GatewayObject(id=named, facts=(fact, refund))


TABLE: dict[tuple[PaymentStatus | None, PaymentStatus | None], Bucket | None] = {
    (None, None): None,
    (None, "INITIATED"): None,
    (None, "AUTHORIZED"): "ours_only",
    (None, "CAPTURED"): "ours_only",
    (None, "FAILED"): None,
    (None, "REFUNDED"): "ours_only",
    ("FAILED", None): None,
    ("FAILED", "INITIATED"): "theirs_only",
    ("FAILED", "AUTHORIZED"): "ours_only",
    ("FAILED", "CAPTURED"): "ours_only",
    ("FAILED", "FAILED"): None,
    ("FAILED", "REFUNDED"): "ours_only",
    ("AUTHORIZED", None): "theirs_only",
    ("AUTHORIZED", "INITIATED"): "theirs_only",
    ("AUTHORIZED", "AUTHORIZED"): "matched",
    ("AUTHORIZED", "CAPTURED"): "ours_only",
    ("AUTHORIZED", "FAILED"): "theirs_only",
    ("AUTHORIZED", "REFUNDED"): "ours_only",
    ("CAPTURED", None): "theirs_only",
    ("CAPTURED", "INITIATED"): "theirs_only",
    ("CAPTURED", "AUTHORIZED"): "theirs_only",
    ("CAPTURED", "CAPTURED"): "matched",
    ("CAPTURED", "FAILED"): "theirs_only",
    ("CAPTURED", "REFUNDED"): "matched",
}


@pytest.mark.parametrize(("target", "status"), TABLE)
def test_each_pair(target: PaymentStatus | None, status: PaymentStatus | None) -> None:
    assert compare(theirs(target), ours(status) if status else None) == TABLE[target, status]


def test_amounts_and_currencies_differ_whatever_the_state() -> None:
    for target in ("AUTHORIZED", "CAPTURED"):
        for status in ("INITIATED", "AUTHORIZED", "CAPTURED", "FAILED"):
            assert compare(theirs(target, amount="25.01"), ours(status)) == "amount_differs"
            assert compare(theirs(target, currency="USD"), ours(status)) == "amount_differs"


def test_a_second_object_that_took_money_is_theirs_only() -> None:
    assert compare(theirs("CAPTURED", named="pi_2"), ours("CAPTURED")) == "theirs_only"
    assert compare(theirs(None, named="pi_2"), ours("CAPTURED")) is None
    assert compare(theirs("FAILED", named="pi_2"), ours("CAPTURED")) is None


def test_a_hold_that_was_released_here_and_not_there_is_theirs_only() -> None:
    assert compare(theirs("AUTHORIZED"), ours("REFUNDED", captured=False)) == "theirs_only"
    assert compare(theirs("FAILED"), ours("REFUNDED", captured=False)) is None


def test_money_that_came_too_late_is_settled_by_its_refund() -> None:
    assert compare(theirs("CAPTURED"), ours("FAILED"), returned=Decimal("24.99")) == "theirs_only"
    assert compare(theirs("CAPTURED"), ours("FAILED"), returned=AMOUNT) == "matched"


def test_only_an_object_is_asked_about_never_a_transaction() -> None:
    transaction = GatewayObject(id="tx_1", facts=(StateFact(target="CAPTURED", amount=AMOUNT, currency="EUR"),))
    pair = Pair(theirs=transaction, ours=ours("INITIATED"))
    assert (name_of(pair, []), name_of(pair, ["order_1", "order_2"])) == ("", "order_2")
    assert name_of(Pair(theirs=theirs("CAPTURED"), ours=ours("INITIATED")), ["pi_2"]) == "pi_1"
    assert name_of(Pair(theirs=GatewayObject(id="pi_1"), ours=ours("CAPTURED")), []) == "pi_1"


async def test_calls_are_spread_and_bounded() -> None:
    now = 0.0
    pace = Pace(100, 3, clock=lambda: now)
    for _ in range(3):
        await pace.step()
    with pytest.raises(Exhausted):
        await pace.step()
    assert pace.calls == 3
