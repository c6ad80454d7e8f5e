"""The hosted page as a browser without scripts uses it, and the company's front page."""

from __future__ import annotations

import re
from typing import Any

import pytest

from careforall.kit.ids import new_id

FORM = {"content-type": "application/x-www-form-urlencoded"}


def actions(page: str) -> list[str]:
    """Where the forms of a page lead."""
    return re.findall(r'<form method="post" action="([^"]+)"><button', page)


@pytest.mark.parametrize(
    ("button", "status", "told"),
    [("pay", "succeeded", "succeeded"), ("decline", "requires_payment_method", "failed"), ("cancel", "canceled", "canceled")],
)
async def test_each_button_does_what_it_says_and_leads_back(gateway: Any, button: str, status: str, told: str) -> None:
    made = await gateway.create(return_url="http://127.0.0.1/back?gift=1")
    shown = await gateway.client.get(f"/simulator/pay/{made['id']}")
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert "€25.00" in shown.text
    [action] = [found for found in actions(shown.text) if found.endswith(f"/{button}")]
    pressed = await gateway.client.post(action, headers=FORM)
    assert pressed.status_code == 303
    back = f"http://127.0.0.1/back?gift=1&payment_intent={made['id']}&redirect_status={told}"
    assert pressed.headers["location"] == back
    assert (await gateway.get(f"/payment_intents/{made['id']}")).json()["status"] == status


async def test_a_declined_payer_is_told_and_can_pay_after_all(gateway: Any) -> None:
    made = await gateway.create()
    page = f"/simulator/pay/{made['id']}"
    await gateway.client.post(f"{page}/decline", headers=FORM)
    assert "The last try was declined" in (await gateway.client.get(page)).text
    await gateway.client.post(f"{page}/pay", headers=FORM)
    assert (await gateway.get(f"/payment_intents/{made['id']}")).json()["status"] == "succeeded"


async def test_pressing_twice_pays_once_and_leads_back_again(gateway: Any) -> None:
    made = await gateway.create()
    first, second = [await gateway.client.post(f"/simulator/pay/{made['id']}/pay", headers=FORM) for _ in range(2)]
    assert first.headers["location"] == second.headers["location"]
    events = (await gateway.client.get(f"/simulator/control/{made['id']}")).json()["events"]
    assert [event["type"] for event in events] == ["payment_intent.succeeded"]


async def test_a_paid_intent_offers_no_buttons(gateway: Any) -> None:
    paid = await gateway.paid()
    shown = await gateway.client.get(f"/simulator/pay/{paid['id']}")
    assert actions(shown.text) == []
    assert "This payment has been made" in shown.text


async def test_without_a_return_url_the_payer_stays(gateway: Any) -> None:
    made = await gateway.create(return_url="")
    pressed = await gateway.client.post(f"/simulator/pay/{made['id']}/pay", headers=FORM)
    assert pressed.headers["location"] == f"/simulator/pay/{made['id']}"


async def test_pages_run_no_scripts_and_escape_what_they_show(gateway: Any) -> None:
    evil = 'http://127.0.0.1/"><script>alert(1)</script>'
    paid = await gateway.paid(return_url=evil)
    shown = await gateway.client.get(f"/simulator/pay/{paid['id']}")
    assert "<script" not in shown.text
    assert shown.headers["content-security-policy"].startswith("default-src 'none'")


async def test_unknown_pages_and_buttons_are_not_found(gateway: Any) -> None:
    made = await gateway.create()
    assert (await gateway.client.get("/simulator/pay/pi_none")).status_code == 404
    assert (await gateway.client.post("/simulator/pay/pi_none/pay", headers=FORM)).status_code == 404
    assert (await gateway.client.post(f"/simulator/pay/{made['id']}/steal", headers=FORM)).status_code == 404


async def test_the_front_page_shows_payments_webhooks_and_mishaps(gateway: Any) -> None:
    await gateway.turn(drop=0.25)
    made = await gateway.create(metadata={"intent_id": str(new_id())})
    shown = (await gateway.client.get("/simulator")).text
    assert made["id"] in shown
    assert "drop 0.25" in shown
