"""The company's API over HTTP: intents, refunds, keys, lists and refusals."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from careforall.kit.ids import new_id


async def test_an_intent_is_made_shown_and_found_in_the_list(gateway: Any) -> None:
    made = await gateway.create()
    assert made["status"] == "requires_payment_method"
    assert made["hosted_url"].endswith(f"/simulator/pay/{made['id']}")
    assert (await gateway.get(f"/payment_intents/{made['id']}")).json() == made
    listed = (await gateway.get("/payment_intents", limit=1)).json()
    assert listed["data"] == [made]


async def test_only_the_api_key_opens_the_api(gateway: Any) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {'x' * 64}"}):
        answer = await gateway.client.get("/simulator/v1/payment_intents", headers=headers)
        assert answer.status_code == 401
        assert answer.json()["error"]["code"] == "api_key_invalid"


@pytest.mark.parametrize(
    ("changes", "code", "param"),
    [
        ({"amount": 0}, "parameter_invalid", "amount"),
        ({"amount": 12.5}, "parameter_invalid", "amount"),
        ({"currency": "zzz"}, "parameter_invalid", "currency"),
        ({"capture_method": "later"}, "parameter_invalid", "capture_method"),
        ({"return_url": "javascript:alert(1)"}, "url_invalid", "return_url"),
        ({"metadata": {"a": 1}}, "parameter_invalid", "metadata"),
        ({"metadata": {"a": "\x00"}}, "parameter_invalid", "metadata"),
        ({"card_number": "4242424242424242"}, "parameter_unknown", "card_number"),
    ],
)
async def test_bad_parameters_are_named(gateway: Any, changes: dict[str, Any], code: str, param: str) -> None:
    answer = await gateway.post("/payment_intents", {"amount": 1, "currency": "eur", **changes})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)


async def test_a_missing_parameter_is_named(gateway: Any) -> None:
    error = (await gateway.post("/payment_intents", {"amount": 1})).json()["error"]
    assert (error["code"], error["param"]) == ("parameter_missing", "currency")


@pytest.mark.parametrize(
    "path", ["/payment_intents/pi_none", "/refunds/re_none", "/payment_intents/%00", "/payment_intents/%C3%A9"]
)
async def test_what_does_not_exist_is_missing(gateway: Any, path: str) -> None:
    answer = await gateway.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "resource_missing"


async def test_a_key_is_needed_and_repeats_the_answer_byte_for_byte(gateway: Any) -> None:
    body = {"amount": 100, "currency": "eur"}
    without = await gateway.client.post("/simulator/v1/payment_intents", json=body, headers=gateway.authorization)
    assert (without.status_code, without.json()["error"]["type"]) == (400, "idempotency_error")
    key = str(new_id())
    first, second = [await gateway.post("/payment_intents", body, key=key) for _ in range(2)]
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"


async def test_a_key_with_other_parameters_is_refused(gateway: Any) -> None:
    key = str(new_id())
    await gateway.post("/payment_intents", {"amount": 100, "currency": "eur"}, key=key)
    for path, body in (("/payment_intents", {"amount": 101, "currency": "eur"}), ("/refunds", {"payment_intent": "pi_1"})):
        answer = await gateway.post(path, body, key=key)
        assert (answer.status_code, answer.json()["error"]["type"]) == (400, "idempotency_error")


async def test_the_same_key_at_once_makes_one_intent(gateway: Any) -> None:
    key = str(new_id())
    answers = await asyncio.gather(
        *(gateway.post("/payment_intents", {"amount": 7, "currency": "eur"}, key=key) for _ in range(12))
    )
    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len({answer.json()["id"] for answer in answers if answer.status_code == 200}) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert answer.json()["error"]["type"] == "idempotency_error"


async def test_held_money_is_captured_once_in_full_or_in_part(gateway: Any) -> None:
    made = await gateway.paid(capture_method="manual")
    assert (made["status"], made["amount_capturable"], made["amount_received"]) == ("requires_capture", 2500, 0)
    captured = (await gateway.post(f"/payment_intents/{made['id']}/capture", {"amount_to_capture": 1000})).json()
    assert (captured["status"], captured["amount_received"], captured["amount_capturable"]) == ("succeeded", 1000, 0)
    again = await gateway.post(f"/payment_intents/{made['id']}/capture", {})
    assert (again.status_code, again.json()["error"]["code"]) == (400, "payment_intent_unexpected_state")


async def test_a_canceled_intent_cannot_be_paid(gateway: Any) -> None:
    made = await gateway.create()
    ended = (await gateway.post(f"/payment_intents/{made['id']}/cancel", {"cancellation_reason": "abandoned"})).json()
    assert (ended["status"], ended["cancellation_reason"]) == ("canceled", "abandoned")
    answer = await gateway.client.post(f"/simulator/control/{made['id']}/success")
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "payment_intent_unexpected_state")


async def test_refunds_add_up(gateway: Any) -> None:
    paid = await gateway.paid()
    first = (
        await gateway.post("/refunds", {"payment_intent": paid["id"], "amount": 1000, "metadata": {"refund_id": "x"}})
    ).json()
    assert (first["status"], first["amount"], first["charge"], first["metadata"]) == (
        "succeeded",
        1000,
        paid["latest_charge"],
        {"refund_id": "x"},
    )
    assert (await gateway.get(f"/refunds/{first['id']}")).json() == first
    too_much = await gateway.post("/refunds", {"payment_intent": paid["id"], "amount": 1501})
    assert too_much.json()["error"]["code"] == "amount_too_large"
    rest = (await gateway.post("/refunds", {"payment_intent": paid["id"]})).json()
    assert rest["amount"] == 1500
    listed = (await gateway.get("/refunds", payment_intent=paid["id"])).json()
    assert listed["data"] == [rest, first]
    none_left = await gateway.post("/refunds", {"payment_intent": paid["id"]})
    assert none_left.json()["error"]["code"] == "charge_already_refunded"


async def test_refunds_at_once_never_exceed_the_payment(gateway: Any) -> None:
    paid = await gateway.paid()
    answers = await asyncio.gather(*(gateway.post("/refunds", {"payment_intent": paid["id"], "amount": 1000}) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, *[400] * 6]
    assert (await gateway.get(f"/payment_intents/{paid['id']}")).json()["amount_refunded"] == 2000


async def test_lists_are_cut_into_pages_and_windows(gateway: Any) -> None:
    made = [(await gateway.create())["id"] for _ in range(5)][::-1]
    first = (await gateway.get("/payment_intents", limit=3)).json()
    assert [item["id"] for item in first["data"]] == made[:3]
    assert first["has_more"]
    second = (await gateway.get("/payment_intents", limit=2, starting_after=made[2])).json()
    assert [item["id"] for item in second["data"]] == made[3:]
    later = int(time.time()) + 100
    assert (await gateway.get("/payment_intents", **{"created[gte]": later})).json()["data"] == []
    assert (await gateway.get("/payment_intents", **{"created[lt]": later - 10_000})).json()["data"] == []
    assert (await gateway.get("/payment_intents", starting_after="pi_none")).status_code == 404
    assert (await gateway.get("/payment_intents", limit=101)).status_code == 400


async def test_a_late_answer_is_found_again_under_its_key(gateway: Any) -> None:
    await gateway.turn(timeout_after_charge=1.0, timeout_ms=400)
    key = str(new_id())
    started = time.monotonic()
    late = await gateway.post("/payment_intents", {"amount": 9, "currency": "eur"}, key=key)
    assert time.monotonic() - started >= 0.4
    again = await gateway.post("/payment_intents", {"amount": 9, "currency": "eur"}, key=key)
    assert again.content == late.content


async def test_an_error_after_success_did_the_work_once(gateway: Any) -> None:
    held = await gateway.paid(capture_method="manual")
    await gateway.turn(error_after_success=1.0)
    key = str(new_id())
    broken = await gateway.post(f"/payment_intents/{held['id']}/capture", {}, key=key)
    assert (broken.status_code, broken.json()["error"]["type"]) == (500, "api_error")
    assert (await gateway.get(f"/payment_intents/{held['id']}")).json()["amount_received"] == 2500
    again = await gateway.post(f"/payment_intents/{held['id']}/capture", {}, key=key)
    assert (again.status_code, again.json()["status"]) == (200, "succeeded")
