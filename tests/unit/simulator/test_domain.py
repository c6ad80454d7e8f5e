"""Every action in every state of a gateway intent."""

from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from careforall.simulator import domain
from careforall.simulator.domain import Change, Dispute, Draft, Intent
from careforall.simulator.errors import BadParameter, NoDispute, NotRefundable, UnexpectedState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
OPEN = Intent(id="pi_1", amount=2500, currency="eur", created=NOW)
MANUAL = msgspec.structs.replace(OPEN, capture_method="manual")
HELD = domain.pay(MANUAL, "ch_1").intent
PAID = domain.pay(OPEN, "ch_1").intent
ENDED = domain.cancel(OPEN, None).intent


def refund(intent: Intent, amount: int | None = None, dispute: Dispute | None = None) -> Change:
    return domain.refund(intent, dispute, refund_id="re_1", amount=amount, reason=None, metadata={}, now=NOW)


def disputed(intent: Intent) -> Change:
    return domain.open_dispute(intent, dispute_id="dp_1", now=NOW)


ACTIONS: dict[str, Callable[[Intent], Change]] = {
    "pay": lambda intent: domain.pay(intent, "ch_1"),
    "decline": lambda intent: domain.decline(intent, "ch_1"),
    "cancel": lambda intent: domain.cancel(intent, "abandoned"),
    "capture": lambda intent: domain.capture(intent, None),
    "refund": refund,
    "dispute": disputed,
}
LEGAL = {
    ("pay", "requires_payment_method"): "succeeded",
    ("decline", "requires_payment_method"): "requires_payment_method",
    ("cancel", "requires_payment_method"): "canceled",
    ("cancel", "requires_capture"): "canceled",
    ("capture", "requires_capture"): "succeeded",
    ("refund", "succeeded"): "succeeded",
    ("dispute", "succeeded"): "succeeded",
}


@pytest.mark.parametrize("intent", [OPEN, HELD, PAID, ENDED], ids=lambda intent: intent.status)
@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_in_every_state(action: str, intent: Intent) -> None:
    after = LEGAL.get((action, intent.status))
    if after is None:
        with pytest.raises(UnexpectedState):
            ACTIONS[action](intent)
        return
    change = ACTIONS[action](intent)
    assert change.intent.status == after
    assert change.intent.version == intent.version + 1
    assert change.events


def test_money_held_is_not_yet_received() -> None:
    assert (HELD.amount_capturable, HELD.amount_received) == (2500, 0)
    captured = domain.capture(HELD, 1000).intent
    assert (captured.amount_capturable, captured.amount_received) == (0, 1000)


def test_no_more_than_is_held_can_be_captured() -> None:
    with pytest.raises(UnexpectedState):
        domain.capture(HELD, 2501)


def test_a_declined_payer_may_try_again() -> None:
    declined = domain.decline(OPEN, "ch_1").intent
    assert declined.decline_code == domain.DECLINE_CODE
    assert domain.pay(declined, "ch_2").intent.decline_code is None


def test_refunds_add_up_to_what_was_received_and_no_further() -> None:
    part = refund(PAID, 1000)
    rest = refund(part.intent)
    assert rest.refund is not None
    assert (rest.refund.amount, rest.intent.amount_refunded) == (1500, 2500)
    with pytest.raises(NotRefundable) as none_left:
        refund(rest.intent)
    assert none_left.value.errors[0].code == "charge_already_refunded"
    with pytest.raises(NotRefundable) as too_large:
        refund(part.intent, 1501)
    assert too_large.value.errors[0].code == "amount_too_large"


def test_a_disputed_charge_is_refunded_only_once_the_dispute_is_won() -> None:
    opened = disputed(PAID)
    with pytest.raises(NotRefundable):
        refund(opened.intent, dispute=opened.dispute)
    won = domain.close_dispute(opened.intent, opened.dispute, "won")
    assert refund(won.intent, dispute=won.dispute).intent.amount_refunded == 2500


def test_only_an_open_dispute_is_decided() -> None:
    opened = disputed(PAID)
    lost = domain.close_dispute(opened.intent, opened.dispute, "lost")
    with pytest.raises(NoDispute):
        domain.close_dispute(lost.intent, lost.dispute, "won")
    with pytest.raises(NoDispute):
        domain.close_dispute(PAID, None, "won")


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"currency": "zzz"}, "currency"),
        ({"currency": "EUR"}, "currency"),
        ({"return_url": "javascript:alert(1)"}, "return_url"),
        ({"return_url": "/here"}, "return_url"),
        ({"return_url": "https://shop.example/\r\nX: y"}, "return_url"),
        ({"metadata": {"k" * 41: "v"}}, "metadata"),
        ({"metadata": {"k": "v" * 501}}, "metadata"),
        ({"metadata": {"k": "\x00"}}, "metadata"),
        ({"metadata": {str(number): "v" for number in range(51)}}, "metadata"),
    ],
)
def test_what_no_intent_can_be_is_refused(changes: dict[str, object], param: str) -> None:
    draft = msgspec.structs.replace(Draft(amount=1, currency="eur", return_url="https://shop.example/back"), **changes)
    with pytest.raises(BadParameter) as refused:
        domain.check_draft(draft)
    assert refused.value.errors[0].pointer == f"/{param}"


def test_an_ordinary_draft_is_fine() -> None:
    domain.check_draft(Draft(amount=1, currency="jpy", metadata={"intent_id": "x"}, return_url="http://127.0.0.1:8000/back"))
