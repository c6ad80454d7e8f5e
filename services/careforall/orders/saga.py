"""The checkout saga without I/O: what a saga does next, whatever it hears and whenever it was interrupted (rule 15).

`advance(state, event)` returns the state after an event and the commands that belong to it. A state names the one step that is to
be done now (its stage), or that it waits; whoever finds it there does that step, again if need be, under the same step id. What
was done is remembered as names of steps, and everything else follows from it: forward until the money is taken, and back by what
must be undone: first the money, then the stock, then the coupon.
"""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from careforall.orders.saga_words import (
    BACK,
    Announce,
    Answered,
    Ask,
    CancelAsked,
    Command,
    Expired,
    Moved,
    PaidByHand,
    PayAsked,
    PaymentTold,
    Place,
    Saga,
    SagaEvent,
    SagaStatus,
    SagaType,
    Settle,
    Step,
    Tell,
)


def begin(saga: Saga, *, late: bool = False) -> Moved:
    """Return a new saga on its first step.

    One whose goods are held late keeps its price alone: when it is to be pinned nothing is held, so that it is held then.
    """
    till: Step = "lock" if late else "reserve"
    first: Mapping[SagaType, Step] = {"CHECKOUT": till, "DIRECT": "reserve", "CANCEL": "refund", "RETURN": "restock"}
    return _go(msgspec.structs.replace(saga, status="STARTED"), first[saga.type])


def advance(saga: Saga, event: SagaEvent) -> Moved:
    """Return a saga after an event, and what is to be done; an event that says nothing to it changes nothing."""
    moved: Moved = saga, ()
    match event:
        case Answered(step=step) if step == saga.stage:
            moved = (_RETURNING if saga.type in {"CANCEL", "RETURN"} else _SELLING)[step](saga, event)
        case PayAsked() if saga.waits:
            moved = _pay(saga, event)
        case PaymentTold() if saga.announced:
            moved = _told(saga, event)
        case PaidByHand() if saga.stage == "payer":
            moved = _go(msgspec.structs.replace(saga, by_hand=True), "cancel")
        case Expired() if saga.waits:
            moved = _back(saga, "expired")
        case CancelAsked() if not saga.ending and saga.stage in {"reserve", "lock", "ready", "payer"}:
            moved = _back(msgspec.structs.replace(saga, cancelled=True), event.reason or "cancelled")
    return moved


def _go(saga: Saga, step: Step, *first: Command) -> Moved:
    """Begin a step: the next try of it, under an id of its own."""
    attempt = saga.attempts.get(step, 0) + 1
    holding, keeping = saga.holding or step == "reserve", saga.keeping or step == "lock"
    status: SagaStatus = (
        "COMPENSATING" if saga.ending else "STARTED" if saga.status == "STARTED" and not saga.done else "IN_PROGRESS"
    )
    attempts = {**saga.attempts, step: attempt}
    moved = msgspec.structs.replace(saga, stage=step, status=status, attempts=attempts, holding=holding, keeping=keeping)
    return moved, (*first, Ask(step=step, attempt=attempt))


def _wait(saga: Saga, stage: Literal["ready", "payer"], *first: Command) -> Moved:
    return msgspec.structs.replace(saga, stage=stage, status="IN_PROGRESS"), first


def _end(saga: Saga, status: SagaStatus, *first: Command) -> Moved:
    return msgspec.structs.replace(saga, stage="end", status=status), first


def _with(saga: Saga, *steps: Step) -> Saga:
    return msgspec.structs.replace(saga, done=saga.done | set(steps))


def _without(saga: Saga, *steps: Step) -> Saga:
    return msgspec.structs.replace(saga, done=saga.done - set(steps))


def _back(saga: Saga, reason: str, *first: Command) -> Moved:
    """Go back: first the money, then what the order is told, then stock and coupon."""
    saga = msgspec.structs.replace(saga, ending=saga.ending or reason, paying=False)
    if saga.has("capture") and not saga.has("refund") and not saga.by_hand:
        return _go(saga, "refund", *first)
    if saga.announced and not saga.has("refund") and not saga.has("cancel"):
        return _go(saga, "cancel", *first)
    return _give_back(saga, *first)


def _give_back(saga: Saga, *first: Command) -> Moved:
    """The money is with its owner: settle the order, and free what is held for it."""
    if saga.placed and not saga.settled:
        first = (*first, Settle(to="CANCELLED" if saga.cancelled else "FAILED", reason=saga.ending))
        saga = msgspec.structs.replace(saga, settled=True)
    if saga.holding:
        return _go(saga, "restock" if saga.has("confirm") else "release", *first)
    if saga.keeping:
        return _go(saga, "free", *first)
    undone = bool(saga.attempts.keys() & set(BACK))
    return _end(saga, "COMPENSATED" if undone else "FAILED", *first)


def _pay(saga: Saga, event: PayAsked) -> Moved:
    saga = msgspec.structs.replace(saga, paying=not event.hold, card=event.card, declined=False)
    if saga.stage == "ready":
        return _go(saga, "lock" if event.relock else "pin")
    return _go(saga, "authorise") if saga.card else _wait(saga, "payer")


def _to_payment(saga: Saga) -> Moved:
    """What is held is pinned: write and announce the order, whose id is the intent's subject, and have it paid."""
    first: tuple[Command, ...] = () if saga.placed else (Place(),)
    if not saga.announced:
        first = (*first, Announce())
    saga = msgspec.structs.replace(saga, placed=True, announced=True, paying=True)
    if saga.has("authorise"):
        return _go(saga, "confirm", *first)
    return _go(saga, "authorise", *first) if saga.card else _wait(saga, "payer", *first)


def _told(saga: Saga, event: PaymentTold) -> Moved:
    """What payments tells by itself: it may be faster than the answer to our own question."""
    early, waiting = saga.stage in {"reserve", "pin"}, saga.stage in {"authorise", "payer"}
    if event.status == "CAPTURED" and early:
        return _with(saga, "authorise", "capture"), ()
    if event.status == "AUTHORIZED" and early:
        return _with(saga, "authorise"), ()
    if event.status == "CAPTURED" and (waiting or saga.stage in {"confirm", "capture"}):
        return _captured(saga)
    if event.status == "AUTHORIZED" and waiting:
        return _go(_with(saga, "authorise"), "confirm")
    if event.status == "ENDED" and (early or waiting):
        return _back(_with(saga, "cancel"), "payment_ended")
    return saga, ()


def _captured(saga: Saga) -> Moved:
    """The money is taken: from here only forward, or a refund where the stock is gone."""
    saga = _with(saga, "authorise", "capture")
    if not saga.has("confirm"):
        return (saga, ()) if saga.stage == "confirm" else _go(saga, "confirm")
    return _confirmed(saga)


def _confirmed(saga: Saga) -> Moved:
    """Paid, and the stock is its own."""
    first = () if saga.settled else (Settle(to="CONFIRMED"),)
    saga = msgspec.structs.replace(saga, settled=True)
    if saga.coupons and not saga.has("redeem"):
        return _go(saga, "redeem", *first)
    return _end(saga, "COMPLETED", *first)


def _reserved(saga: Saga, answer: Answered) -> Moved:
    match answer.outcome:
        case "DONE":
            saga = _with(saga, "reserve")
            return _go(saga, "lock" if saga.type == "CHECKOUT" and not saga.has("lock") else "pin")
        case "AWAY" if saga.type == "DIRECT" and not saga.placed:
            return msgspec.structs.replace(saga, placed=True), (Place(),)
        case "AWAY":
            return _unpaid(saga)
        case "OUT_OF_STOCK" | "REFUSED":
            return _back(msgspec.structs.replace(saga, holding=False), answer.reason or "out_of_stock")
        case _:
            return saga, ()


def _unpaid(saga: Saga) -> Moved:
    """Somebody we need is away, and no order is announced yet: the buyer may try again."""
    if saga.type == "CHECKOUT" and saga.paying and not saga.announced:
        return _wait(msgspec.structs.replace(saga, paying=False, card=False), "ready")
    return saga, ()


def _locked(saga: Saga, answer: Answered) -> Moved:
    match answer.outcome:
        case "DONE" if saga.paying:
            return _go(_with(saga, "lock"), "pin")
        case "DONE":
            first = () if saga.has("lock") else (Tell(),)
            return _wait(_with(saga, "lock"), "ready", *first)
        case "PENDING" if saga.paying:
            # The price went on rising after it was looked at: the new one is kept, and the buyer is asked again.
            return _wait(msgspec.structs.replace(_with(saga, "lock"), paying=False, card=False), "ready")
        case "REFUSED":
            return _back(saga, answer.reason or "price_refused")
        case "AWAY":
            return _unpaid(saga)
        case _:
            return saga, ()


def _pinned(saga: Saga, answer: Answered) -> Moved:
    match answer.outcome:
        case "DONE":
            return _to_payment(_with(saga, "pin"))
        case "NOT_HELD":
            return _go(_without(saga, "reserve"), "reserve")
        case "REFUSED" if not saga.announced:
            # A coupon is gone, and with it the price: it is kept anew, and the buyer is asked again.
            return _go(msgspec.structs.replace(saga, paying=False, card=False, coupons=False), "lock")
        case "AWAY":
            return _unpaid(saga)
        case _:
            return saga, ()


def _authorised(saga: Saga, answer: Answered) -> Moved:
    saga = msgspec.structs.replace(saga, card=False)
    match answer.outcome:
        case "AUTHORIZED":
            return _go(_with(saga, "authorise"), "confirm")
        case "CAPTURED":
            return _captured(saga)
        case "DECLINED":
            return _wait(msgspec.structs.replace(saga, declined=True), "payer")
        case "PENDING":
            return _wait(saga, "payer")
        case "ENDED":
            return _back(_with(saga, "cancel"), answer.reason or "payment_ended")
        case _:
            return saga, ()


def _stock_sold(saga: Saga, answer: Answered) -> Moved:
    match answer.outcome:
        case "DONE":
            saga = _with(saga, "confirm")
            return _confirmed(saga) if saga.has("capture") else _go(saga, "capture")
        case "NOT_HELD":
            return _back(_without(saga, "reserve"), "out_of_stock")
        case _:
            return saga, ()


def _taken(saga: Saga, answer: Answered) -> Moved:
    match answer.outcome:
        case "CAPTURED":
            return _captured(saga)
        case "ENDED":
            return _back(_with(saga, "cancel"), answer.reason or "payment_ended")
        case _:
            return saga, ()


def _redeemed(saga: Saga, answer: Answered) -> Moved:
    return _end(_with(saga, "redeem"), "COMPLETED") if answer.outcome in {"DONE", "NOT_HELD"} else (saga, ())


def _intent_ended(saga: Saga, answer: Answered) -> Moved:
    """The intent is closed at its gateway, unless somebody paid just before."""
    match answer.outcome:
        case "ENDED" if saga.by_hand:
            return _go(_with(saga, "authorise", "capture", "cancel"), "confirm")
        case "ENDED":
            return _give_back(_with(saga, "cancel"))
        case "CAPTURED" if saga.by_hand or (saga.ending == "expired" and not saga.cancelled):
            # The hold is pinned past the intent, so that what was paid in the last moment is still there.
            return _captured(msgspec.structs.replace(saga, ending="", by_hand=False, stage="payer"))
        case "CAPTURED":
            return _back(_with(saga, "capture"), saga.ending)
        case _:
            return saga, ()


def _money_back(saga: Saga, answer: Answered) -> Moved:
    return _give_back(_with(saga, "refund")) if answer.outcome in {"DONE", "PENDING"} else (saga, ())


def _released(saga: Saga, answer: Answered) -> Moved:
    if answer.outcome not in {"DONE", "NOT_HELD"}:
        return saga, ()
    return _give_back(_without(msgspec.structs.replace(saga, holding=False), "confirm", "reserve", "pin"))


def _freed(saga: Saga, answer: Answered) -> Moved:
    if answer.outcome not in {"DONE", "NOT_HELD"}:
        return saga, ()
    return _give_back(_without(msgspec.structs.replace(saga, keeping=False), "lock"))


def _return_restocked(saga: Saga, answer: Answered) -> Moved:
    if answer.outcome not in {"DONE", "NOT_HELD"}:
        return saga, ()
    return _go(_with(saga, "restock"), "refund" if saga.type == "RETURN" else "free")


def _coupons_back(saga: Saga, answer: Answered) -> Moved:
    return _end(_with(saga, "free"), "COMPLETED") if answer.outcome in {"DONE", "NOT_HELD"} else (saga, ())


def _return_refunded(saga: Saga, answer: Answered) -> Moved:
    if answer.outcome not in {"DONE", "PENDING"}:
        return saga, ()
    saga = _with(saga, "refund")
    return _go(saga, "restock") if saga.type == "CANCEL" else _end(saga, "COMPLETED")


_Move = Callable[[Saga, Answered], Moved]
_SELLING: Mapping[Step, _Move] = {
    "reserve": _reserved,
    "lock": _locked,
    "pin": _pinned,
    "authorise": _authorised,
    "confirm": _stock_sold,
    "capture": _taken,
    "redeem": _redeemed,
    "cancel": _intent_ended,
    "refund": _money_back,
    "release": _released,
    "restock": _released,
    "free": _freed,
}
_RETURNING: Mapping[Step, _Move] = {
    **_SELLING,
    "restock": _return_restocked,
    "refund": _return_refunded,
    "free": _coupons_back,
}
