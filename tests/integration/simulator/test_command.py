"""`careforall simulate` against a running gateway, and what it says and returns."""

from __future__ import annotations

from typing import Any

import pytest

from careforall.kit.ids import new_id


async def simulate(gateway: Any, shop: Any, *words: str) -> tuple[int, str]:
    """Run the command; return its status and all it said."""
    done = await gateway.running.cli("simulate", *words, "--url", shop.url)
    return done.status, done.out + done.err


async def status_of(gateway: Any, ours: str) -> str:
    answer = await gateway.client.get(f"/simulator/control/{ours}")
    return str(answer.json()["payment_intent"]["status"])


@pytest.mark.parametrize(
    ("action", "status", "event"),
    [
        ("success", "succeeded", "payment_intent.succeeded delivered (200)"),
        ("decline", "requires_payment_method", "payment_intent.payment_failed delivered (200)"),
        ("failed", "canceled", "payment_intent.canceled delivered (200)"),
    ],
)
async def test_a_payer_is_played_to_the_end(gateway: Any, shop: Any, action: str, status: str, event: str) -> None:
    ours = str(new_id())
    code, said = await simulate(gateway, shop, action, ours)
    assert code == 0, said
    assert event in said
    assert await status_of(gateway, ours) == status


async def test_a_refund_pays_first_and_takes_an_amount(gateway: Any, shop: Any) -> None:
    ours = str(new_id())
    code, said = await simulate(gateway, shop, "refund", ours, "--amount", "10.00")
    assert code == 0, said
    assert "refunded 10.00 EUR" in said
    code, said = await simulate(gateway, shop, "refund", ours, "--amount", "20.00")
    assert code == 1
    assert "Only 1500 can be refunded" in said
    code, said = await simulate(gateway, shop, "refund", ours, "--amount", "1.001")
    assert code == 2


async def test_a_dispute_is_told(gateway: Any, shop: Any) -> None:
    code, said = await simulate(gateway, shop, "dispute", str(new_id()))
    assert code == 0, said
    assert "charge.dispute.created delivered (200)" in said


async def test_storm_and_shuffle_send_again_and_again(gateway: Any, shop: Any) -> None:
    code, said = await simulate(gateway, shop, "storm", str(new_id()), "--times", "20")
    assert code == 0, said
    assert "20 webhooks sent, answered 20 x 200" in said
    code, said = await simulate(gateway, shop, "shuffle", str(new_id()), "--times", "3", "--seed", "5")
    assert code == 0, said
    assert "6 webhooks sent, answered 6 x 200" in said


async def test_a_declining_gateway_fails_the_command(gateway: Any, shop: Any) -> None:
    await gateway.turn(decline_rate=1.0)
    code, said = await simulate(gateway, shop, "success", str(new_id()))
    assert code == 1
    assert "declined" in said


async def test_wrong_usage_and_nothing_running_are_told_apart(gateway: Any, shop: Any) -> None:
    assert (await simulate(gateway, shop, "success", "not-an-id"))[0] == 2
    assert (await simulate(gateway, shop, "explode", str(new_id())))[0] == 2
    assert (await simulate(gateway, shop, "success", str(new_id()), "--amount", "1.00"))[0] == 2
    nobody = await gateway.running.cli("simulate", "success", str(new_id()), "--instance", "nobody-runs-this")
    assert nobody.status == 3
    assert "does not run" in nobody.err
    silent = await gateway.running.cli("simulate", "success", str(new_id()), "--url", "http://127.0.0.1:1")
    assert silent.status == 3
