"""The saga without I/O: whatever it hears, in whatever order, it ends with money and stock on the same side."""

from __future__ import annotations

from typing import get_args
from uuid import UUID

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from careforall.kit.crash import SAGA_STEPS
from careforall.kit.ids import new_id
from careforall.orders import saga_words as rules
from careforall.orders.domain import order_number
from careforall.orders.saga import advance, begin
from careforall.orders.saga_words import (
    ENDED,
    STEPS,
    Announce,
    Answered,
    Ask,
    CancelAsked,
    Expired,
    Outcome,
    PaidByHand,
    PayAsked,
    PaymentTold,
    Place,
    Saga,
    SagaEvent,
    SagaType,
    Settle,
    checkout_state,
    step_id,
)

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
TYPES: tuple[SagaType, ...] = get_args(SagaType)
EVENTS: list[SagaEvent] = [
    *(Answered(step=step, outcome=outcome) for step in STEPS for outcome in OUTCOMES),
    *(
        PayAsked(card=card, relock=relock, hold=hold)
        for card in (True, False)
        for relock in (True, False)
        for hold in (True, False)
    ),
    *(PaymentTold(status=status) for status in ("AUTHORIZED", "CAPTURED", "ENDED")),
    PaidByHand(),
    Expired(),
    CancelAsked(reason="changed my mind"),
]


def stepped(saga: Saga, *events: SagaEvent) -> Saga:
    """A saga after events."""
    for event in events:
        saga, _ = advance(saga, event)
    return saga


def begun(kind: SagaType = "CHECKOUT") -> Saga:
    return begin(Saga(id=new_id(), type=kind))[0]


def done(step: rules.Step) -> Answered:
    outcome: Outcome = {"authorise": "AUTHORIZED", "capture": "CAPTURED", "cancel": "ENDED"}.get(step, "DONE")  # type: ignore[assignment]
    return Answered(step=step, outcome=outcome)


def ready() -> Saga:
    return stepped(begun(), done("reserve"), done("lock"))


def test_a_checkout_takes_the_steps_in_the_order_of_the_rule() -> None:
    saga = begun()
    asked: list[str] = ["reserve"]
    for event in (
        done("reserve"),
        done("lock"),
        PayAsked(card=True),
        done("pin"),
        done("authorise"),
        done("confirm"),
        done("capture"),
    ):
        saga, commands = advance(saga, event)
        asked += [command.step if isinstance(command, Ask) else type(command).__name__ for command in commands]
    assert asked == [
        *("reserve", "lock", "Tell", "pin", "Place", "Announce", "authorise", "confirm", "capture", "Settle"),
    ]
    assert (saga.status, checkout_state(saga)) == ("COMPLETED", "CONFIRMED")


def test_coupons_are_used_up_once_the_order_is_confirmed() -> None:
    saga = msgspec.structs.replace(ready(), coupons=True)
    saga = stepped(saga, PayAsked(card=True), done("pin"), done("authorise"), done("confirm"), done("capture"))
    assert (saga.stage, saga.settled) == ("redeem", True)
    assert stepped(saga, done("redeem")).status == "COMPLETED"


def test_a_declined_card_keeps_what_is_held() -> None:
    saga = stepped(ready(), PayAsked(card=True), done("pin"), Answered(step="authorise", outcome="DECLINED"))
    assert (saga.stage, checkout_state(saga), saga.has("pin")) == ("payer", "PAYMENT_FAILED", True)
    again, commands = advance(saga, PayAsked(card=True))
    assert commands == (Ask(step="authorise", attempt=2),)
    assert step_id(again.id, "authorise", 2) != step_id(again.id, "authorise", 1)


def test_the_intent_is_ended_before_the_stock_is_released() -> None:
    saga, commands = advance(stepped(ready(), PayAsked(card=False), done("pin")), Expired())
    assert commands == (Ask(step="cancel", attempt=1),)
    saga, commands = advance(saga, done("cancel"))
    assert commands == (Settle(to="FAILED", reason="expired"), Ask(step="release", attempt=1))
    saga = stepped(saga, done("release"), done("free"))
    assert (saga.status, checkout_state(saga)) == ("COMPENSATED", "TIMEOUT")


def test_money_that_came_in_the_last_moment_goes_forward_with_the_pinned_stock() -> None:
    saga = stepped(ready(), PayAsked(card=False), done("pin"), Expired(), Answered(step="cancel", outcome="CAPTURED"))
    assert (saga.stage, saga.ending) == ("confirm", "")
    assert stepped(saga, done("confirm")).status == "COMPLETED"


def test_money_taken_at_once_is_refunded_where_the_stock_is_gone() -> None:
    saga = stepped(ready(), PayAsked(card=False), done("pin"), PaymentTold(status="CAPTURED"))
    saga, commands = advance(saga, Answered(step="confirm", outcome="NOT_HELD"))
    assert commands == (Ask(step="refund", attempt=1),)
    saga, commands = advance(saga, done("refund"))
    assert Settle(to="FAILED", reason="out_of_stock") in commands
    assert stepped(saga, done("release"), done("free")).status == "COMPENSATED"


def test_held_money_is_released_where_the_stock_is_gone() -> None:
    saga = stepped(ready(), PayAsked(card=True), done("pin"), done("authorise"), Answered(step="confirm", outcome="NOT_HELD"))
    assert saga.stage == "cancel"


def test_a_hold_that_ran_out_is_taken_anew_under_another_step() -> None:
    saga, commands = advance(stepped(ready(), PayAsked(card=True)), Answered(step="pin", outcome="NOT_HELD"))
    assert commands == (Ask(step="reserve", attempt=2),)
    gone = stepped(saga, Answered(step="reserve", outcome="OUT_OF_STOCK"), done("free"))
    assert (gone.status, gone.ending, gone.placed) == ("COMPENSATED", "out_of_stock", False)


def test_a_late_checkout_holds_its_goods_when_it_is_paid() -> None:
    saga, asked = begin(Saga(id=new_id(), type="CHECKOUT"), late=True)
    assert asked == (Ask(step="lock", attempt=1),)
    saga = stepped(saga, done("lock"))
    assert (saga.stage, saga.holding) == ("ready", False)
    paying, asked = advance(stepped(saga, PayAsked(card=True)), Answered(step="pin", outcome="NOT_HELD"))
    assert asked == (Ask(step="reserve", attempt=1),)
    gone = stepped(paying, Answered(step="reserve", outcome="OUT_OF_STOCK"), done("free"))
    assert (gone.ending, gone.placed, gone.status) == ("out_of_stock", False, "COMPENSATED")
    sold = stepped(paying, done("reserve"), done("pin"), done("authorise"), done("confirm"), done("capture"))
    assert (sold.status, sold.settled) == ("COMPLETED", True)


def test_a_late_checkout_that_is_left_gives_back_its_price_alone() -> None:
    saga = stepped(begin(Saga(id=new_id(), type="CHECKOUT"), late=True)[0], done("lock"))
    assert advance(saga, Expired())[1] == (Ask(step="free", attempt=1),)


def test_a_direct_order_does_not_wait_for_inventory() -> None:
    saga, commands = advance(begun("DIRECT"), Answered(step="reserve", outcome="AWAY"))
    assert commands == (Place(),)
    saga, commands = advance(stepped(saga, done("reserve")), done("pin"))
    assert commands == (Announce(),)
    assert saga.stage == "payer"


def test_an_absent_neighbour_charges_nobody() -> None:
    saga = stepped(ready(), PayAsked(card=True), Answered(step="pin", outcome="AWAY"))
    assert (saga.stage, saga.paying, saga.placed) == ("ready", False, False)


@pytest.mark.parametrize("kind", ["CANCEL", "RETURN"])
def test_what_goes_back_takes_both_steps(kind: SagaType) -> None:
    saga = begun(kind)
    order = [saga.stage]
    while not saga.ended:
        saga = stepped(saga, done(saga.step))
        order.append(saga.stage)
    assert order == (["refund", "restock", "free", "end"] if kind == "CANCEL" else ["restock", "refund", "end"])


def test_the_kit_names_the_crash_points_of_all_steps() -> None:
    assert set(SAGA_STEPS) == set(STEPS)


def reachable() -> list[Saga]:
    """Every state there is, from every beginning, by every event."""
    found: dict[tuple[object, ...], Saga] = {}
    waiting = [begun(kind) for kind in TYPES]
    while waiting:
        saga = waiting.pop()
        key = tuple(getattr(saga, name) for name in Saga.__struct_fields__ if name not in {"id", "attempts"})
        if key in found:
            continue
        found[key] = saga
        waiting += [moved for event in EVENTS if (moved := advance(saga, event)[0]) is not saga]
        if saga.has("lock") and not saga.coupons:
            waiting.append(msgspec.structs.replace(saga, coupons=True))
    return list(found.values())


REACHABLE = reachable()


def test_every_event_in_every_state_keeps_the_rules() -> None:
    assert len(REACHABLE) > 200
    for saga in REACHABLE:
        check(saga)
        for event in EVENTS:
            moved, commands = advance(saga, event)
            assert (moved is saga) <= (not commands), f"{saga} {event}: commands without a move"
            asks = [command for command in commands if isinstance(command, Ask)]
            assert len(asks) <= 1
            if asks:
                assert asks[0].step == moved.stage
                assert asks[0].attempt == moved.attempts[asks[0].step]
            if saga.ended:
                assert moved is saga


def test_every_state_can_end() -> None:
    """From wherever a saga is, answers alone bring it to a wait or to its end: nothing runs in a circle."""
    for start in REACHABLE:
        saga, steps = start, 0
        while not saga.ended and not saga.waits:
            saga = stepped(saga, done(saga.step))
            steps += 1
            assert steps < 15, f"{start} runs in a circle"
        if saga.waits:
            saga = stepped(saga, Expired())
            assert not saga.waits


def check(saga: Saga) -> None:
    """What must be true of every state."""
    assert (saga.stage == "end") == (saga.status in ENDED), saga
    if saga.type in {"CANCEL", "RETURN"}:
        return
    if saga.stage == "capture":
        assert saga.has("confirm"), f"money is taken before the stock is sold: {saga}"
    if saga.stage in {"release", "free", "end"} and saga.announced and saga.ending:
        closed = saga.has("cancel") or saga.has("refund") or (saga.by_hand and saga.has("capture"))
        assert closed, f"stock is freed while somebody can pay: {saga}"
    if saga.ended and saga.has("capture") and not saga.by_hand:
        assert saga.has("confirm") != saga.has("refund"), f"paid without stock, or refunded with it: {saga}"
    if saga.ended and not saga.has("capture"):
        assert not saga.holding, f"stock is held for nobody: {saga}"
        assert not saga.keeping, f"a coupon is held for nobody: {saga}"
    if saga.ended and saga.placed:
        assert saga.settled, f"an order does not know how it ended: {saga}"


class Interrupted(RuleBasedStateMachine):
    """One saga whose owners behave, while buyers, payers and clocks do as they please and drivers die at any point."""

    @initialize(kind=st.sampled_from(["CHECKOUT", "DIRECT"]))
    def start(self, kind: SagaType) -> None:
        self.saga = begun(kind)
        self.held = self.sold = False
        self.intent = "NONE"
        self.answers: dict[object, Outcome] = {}

    def effect(self, step: rules.Step) -> Outcome:
        """What the owner of a step does, once for each step id."""
        identifier = step_id(self.saga.id, step, self.saga.attempts[step])
        if identifier not in self.answers:
            self.answers[identifier] = getattr(self, f"do_{step}")()
        return self.answers[identifier]

    def do_reserve(self) -> Outcome:
        self.held = True
        return "DONE"

    def do_lock(self) -> Outcome:
        return "DONE"

    def do_pin(self) -> Outcome:
        return "DONE" if self.held else "NOT_HELD"

    def do_authorise(self) -> Outcome:
        if self.intent in {"NONE", "OPEN"}:
            self.intent = "AUTHORIZED"
        return self.intent if self.intent in {"AUTHORIZED", "CAPTURED"} else "ENDED"  # type: ignore[return-value]

    def do_confirm(self) -> Outcome:
        if not self.held and not self.sold:
            return "NOT_HELD"
        self.held, self.sold = False, True
        return "DONE"

    def do_capture(self) -> Outcome:
        if self.intent == "AUTHORIZED":
            self.intent = "CAPTURED"
        return "CAPTURED" if self.intent == "CAPTURED" else "ENDED"

    def do_redeem(self) -> Outcome:
        return "DONE"

    def do_cancel(self) -> Outcome:
        if self.intent == "CAPTURED":
            return "CAPTURED"
        self.intent = "ENDED"
        return "ENDED"

    def do_refund(self) -> Outcome:
        assert self.intent == "CAPTURED"
        self.intent = "REFUNDED"
        return "DONE"

    def do_release(self) -> Outcome:
        self.held = False
        return "DONE"

    def do_restock(self) -> Outcome:
        self.sold = False
        return "DONE"

    def do_free(self) -> Outcome:
        return "DONE"

    @precondition(lambda self: not self.saga.waits and not self.saga.ended)
    @rule()
    def dies_after_the_effect(self) -> None:
        self.effect(self.saga.step)

    @precondition(lambda self: not self.saga.waits and not self.saga.ended)
    @rule(declines=st.booleans())
    def goes_on(self, declines: bool) -> None:
        step = self.saga.step
        if step == "authorise" and declines and step_id(self.saga.id, step, self.saga.attempts[step]) not in self.answers:
            self.answers[step_id(self.saga.id, step, self.saga.attempts[step])] = "DECLINED"
        self.saga = stepped(self.saga, Answered(step=step, outcome=self.effect(step)))

    @precondition(lambda self: self.held and "pin" not in self.saga.done)
    @rule()
    def hold_expires(self) -> None:
        self.held = False

    @precondition(lambda self: self.saga.announced and self.intent in {"NONE", "OPEN"})
    @rule(status=st.sampled_from(["AUTHORIZED", "CAPTURED"]))
    def payer_pays_on_the_page(self, status: str) -> None:
        self.intent = status

    @precondition(lambda self: self.intent in {"AUTHORIZED", "CAPTURED", "ENDED"})
    @rule()
    def payments_tells(self) -> None:
        self.saga = stepped(self.saga, PaymentTold(status=self.intent))  # type: ignore[arg-type]

    @rule(card=st.booleans())
    def buyer_pays(self, card: bool) -> None:
        self.saga = stepped(self.saga, PayAsked(card=card))

    @rule(event=st.sampled_from([Expired(), CancelAsked(reason="no")]))
    def somebody_ends_it(self, event: SagaEvent) -> None:
        self.saga = stepped(self.saga, event)

    @invariant()
    def the_rules_hold(self) -> None:
        check(self.saga)
        if self.saga.ended and not self.saga.ending:
            assert (self.intent, self.sold) == ("CAPTURED", True)
        if self.saga.ended and self.saga.ending:
            assert not self.sold
            assert not self.held
            assert self.intent in {"NONE", "ENDED", "REFUNDED"}

    def teardown(self) -> None:
        """Left alone, a saga comes to its end."""
        for _ in range(40):
            if self.saga.ended:
                break
            if self.saga.waits:
                self.saga = stepped(self.saga, Expired())
            else:
                self.goes_on(declines=False)
            self.the_rules_hold()
        assert self.saga.ended


def test_interrupted_sagas_end_with_money_and_stock_on_one_side() -> None:
    run_state_machine_as_test(
        Interrupted,
        settings=settings(
            max_examples=100, stateful_step_count=30, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
        ),
    )


def test_a_number_is_the_name_of_its_saga() -> None:
    saga_id = UUID("01931d2e-7a6b-7c3d-8e4f-5a6b7c8d9e0f")
    assert order_number(saga_id, 2026) == "ORD-2026-" + order_number(saga_id, 2026)[-10:]
    assert order_number(saga_id, 2026) != order_number(new_id(), 2026)
    assert len(order_number(saga_id, 2026)) == len("ORD-2026-") + 10
