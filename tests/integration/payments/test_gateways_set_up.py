"""Which gateways there are: what is not set up has no webhook and is never called, what is set up has both its routes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from careforall.kit import json
from careforall.kit.ids import new_id
from careforall.payments.schemas import IntentOrder
from careforall_testing.signing import STRIPE, sign_stripe

WEBHOOK = "/api/v1/payments/webhook"
SECRET = "whsec_one"
SET_UP = {"stripe_secret_key": "sk_test_1", "stripe_webhook_secrets": SECRET, "stripe_base": "http://127.0.0.1:9"}
EVENT = b'{"id": "evt_%b", "object": "event", "type": "payment_intent.created", "data": {"object": {"id": "pi_1"}}}'


@pytest.mark.parametrize("hot", [True, False])
@pytest.mark.parametrize("gateway", ["stripe", "paypal", "generic", "nothing", "Simulator", "%00"])
async def test_a_gateway_that_is_not_set_up_has_no_webhook(till: Any, gateway: str, hot: bool) -> None:
    before = await till.count("webhook_events")
    body = EVENT % str(new_id()).encode()
    answer = await till.clients[hot].post(f"{WEBHOOK}/{gateway}", content=body, headers=sign_stripe("", body))
    assert (answer.status_code, answer.json()["code"]) == (404, "gateway_not_configured")
    assert answer.headers["content-type"] == "application/problem+json"
    assert await till.count("webhook_events") == before


async def test_a_gateway_that_is_not_set_up_is_not_called(till: Any) -> None:
    order = IntentOrder(
        subject_type="DONATION", subject_id=new_id(), amount=Decimal("25.00"), currency="EUR", title="A well", gateway="stripe"
    )
    intent = await till.service.create_intent(order)
    assert await till.service.paying.pay(intent.id) is None
    [attempt] = await till.database.fetch("SELECT status, code FROM payment_attempts WHERE intent_id = $1", intent.id)
    assert (attempt["status"], attempt["code"]) == ("FAILED", "gateway_not_configured")
    assert (await till.row(intent.id))["status"] == "INITIATED"


@pytest.mark.parametrize("hot", [True, False])
async def test_a_gateway_that_is_set_up_has_one(arena: Any, servers: Any, hot: bool) -> None:
    async with arena.open(servers, **SET_UP) as till:
        body = EVENT % str(new_id()).encode()
        good = await till.clients[hot].post(STRIPE, content=body, headers=sign_stripe(SECRET, body))
        again = await till.clients[hot].post(STRIPE, content=body, headers=sign_stripe(SECRET, body))
        bad = await till.clients[hot].post(STRIPE, content=body, headers=sign_stripe("whsec_two", body))
        assert [(one.status_code, one.json()["status"]) for one in (good, again)] == [(200, "ignored")] * 2
        assert (again.content, again.headers["idempotent-replayed"]) == (good.content, "true")
        assert (bad.status_code, bad.json()["code"]) == (401, "invalid_signature")
        assert await till.count("webhook_events") == 1


async def test_an_early_event_of_stripe_is_applied_when_its_intent_arrives(arena: Any, servers: Any) -> None:
    async with arena.open(servers, **SET_UP) as till:
        mine, foreign = new_id(), new_id()
        for intent, livemode in ((mine, False), (foreign, True)):
            event = till.simulated("payment_intent.succeeded", intent) | {"livemode": livemode}
            assert (await _tell(till, event)).status_code == 200
        await till.pledges([mine, foreign])
        assert [(await till.row(intent))["status"] for intent in (mine, foreign)] == ["CAPTURED", "INITIATED"]


async def _tell(till: Any, event: Any) -> Any:
    body = json.encode(event)
    return await till.clients[True].post(STRIPE, content=body, headers=sign_stripe(SECRET, body))
