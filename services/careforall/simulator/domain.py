"""What the simulated company does with money, without I/O: states of an intent, refunds, disputes, and the events they cause."""

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

import msgspec

from careforall.kit import money
from careforall.simulator.errors import BadParameter, NoDispute, NotRefundable, UnexpectedState

IntentStatus = Literal["requires_payment_method", "requires_capture", "succeeded", "canceled"]
CaptureMethod = Literal["automatic", "manual"]
DisputeStatus = Literal["needs_response", "won", "lost"]
EventType = Literal[
    "payment_intent.amount_capturable_updated",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "refund.created",
    "charge.refunded",
    "charge.dispute.created",
    "charge.dispute.closed",
]

OPEN_STATES: frozenset[IntentStatus] = frozenset({"requires_payment_method", "requires_capture"})
DECLINE_CODE = "generic_decline"
MAX_URL, MAX_ENTRIES, MAX_NAME, MAX_VALUE = 2048, 50, 40, 500


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller wants an intent to be."""

    amount: int
    currency: str
    capture_method: CaptureMethod = "automatic"
    metadata: Mapping[str, str] = {}
    return_url: str = ""


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody is to pay an amount; `number` counts intents, `version` the changes of this one."""

    id: str
    number: int = 0
    version: int = 1
    amount: int
    amount_capturable: int = 0
    amount_received: int = 0
    amount_refunded: int = 0
    currency: str
    status: IntentStatus = "requires_payment_method"
    capture_method: CaptureMethod = "automatic"
    metadata: Mapping[str, str] = {}
    return_url: str = ""
    latest_charge: str | None = None
    decline_code: str | None = None
    cancellation_reason: str | None = None
    created: datetime


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money that goes back."""

    id: str
    payment_intent: str
    charge: str
    amount: int
    currency: str
    reason: str | None = None
    status: Literal["pending", "succeeded", "failed"] = "succeeded"
    metadata: Mapping[str, str] = {}
    created: datetime


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """The payer's bank wants the money back."""

    id: str
    payment_intent: str
    charge: str
    amount: int
    currency: str
    status: DisputeStatus = "needs_response"
    created: datetime


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What one action makes of an intent, with the events that tell of it."""

    intent: Intent
    refund: Refund | None = None
    dispute: Dispute | None = None
    events: tuple[EventType, ...] = ()


def check_draft(draft: Draft) -> None:
    """Refuse what no intent can be.

    Raises:
        BadParameter: Naming the parameter.
    """
    try:
        money.exponent(draft.currency.upper())
    except money.MoneyError:
        raise BadParameter("currency", "parameter_invalid", "Use a lower-case ISO 4217 code such as eur.") from None
    if draft.currency != draft.currency.lower():
        raise BadParameter("currency", "parameter_invalid", "Write the currency in lower case.")
    if draft.return_url and not _is_url(draft.return_url):
        raise BadParameter("return_url", "url_invalid", "Give an absolute http or https address.")
    check_metadata(draft.metadata)


def check_metadata(metadata: Mapping[str, str]) -> None:
    """Refuse metadata that is too much or cannot be stored.

    Raises:
        BadParameter: Naming the parameter.
    """
    small = len(metadata) <= MAX_ENTRIES and all(
        len(name) <= MAX_NAME and len(value) <= MAX_VALUE for name, value in metadata.items()
    )
    if not small:
        raise BadParameter("metadata", "parameter_invalid", "At most 50 entries, names of 40 and values of 500 characters.")
    if any("\x00" in name or "\x00" in value for name, value in metadata.items()):
        raise BadParameter("metadata", "parameter_invalid", "NUL characters are not accepted.")


def _is_url(text: str) -> bool:
    plain = len(text) <= MAX_URL and text.isascii() and text.isprintable() and " " not in text
    return plain and text.startswith(("http://", "https://")) and len(text) > len("https://")


def pay(intent: Intent, charge: str) -> Change:
    """Charge the payer, or hold the money where it is captured by hand.

    Raises:
        UnexpectedState: Unless it waits for a payer.
    """
    _require(intent, "pay", {"requires_payment_method"})
    if intent.capture_method == "manual":
        held = _next(intent, status="requires_capture", amount_capturable=intent.amount, latest_charge=charge, decline_code=None)
        return Change(intent=held, events=("payment_intent.amount_capturable_updated",))
    paid = _next(intent, status="succeeded", amount_received=intent.amount, latest_charge=charge, decline_code=None)
    return Change(intent=paid, events=("payment_intent.succeeded",))


def decline(intent: Intent, charge: str) -> Change:
    """Refuse the payer; the intent stays payable.

    Raises:
        UnexpectedState: Unless it waits for a payer.
    """
    _require(intent, "decline", {"requires_payment_method"})
    refused = _next(intent, latest_charge=charge, decline_code=DECLINE_CODE)
    return Change(intent=refused, events=("payment_intent.payment_failed",))


def cancel(intent: Intent, reason: str | None) -> Change:
    """End an intent without money, releasing what is held.

    Raises:
        UnexpectedState: If it has ended already.
    """
    _require(intent, "cancel", OPEN_STATES)
    ended = _next(intent, status="canceled", amount_capturable=0, cancellation_reason=reason)
    return Change(intent=ended, events=("payment_intent.canceled",))


def capture(intent: Intent, amount: int | None) -> Change:
    """Take money that is held, all of it or a part; the rest is released.

    Raises:
        UnexpectedState: Unless money is held, at least that much.
    """
    _require(intent, "capture", {"requires_capture"})
    taken = intent.amount_capturable if amount is None else amount
    if taken > intent.amount_capturable:
        raise UnexpectedState(f"Only {intent.amount_capturable} can be captured.")
    paid = _next(intent, status="succeeded", amount_received=taken, amount_capturable=0)
    return Change(intent=paid, events=("payment_intent.succeeded",))


def refund(
    intent: Intent,
    dispute: Dispute | None,
    *,
    refund_id: str,
    amount: int | None,
    reason: str | None,
    metadata: Mapping[str, str],
    now: datetime,
) -> Change:
    """Send money back, all that is left or a part.

    Raises:
        UnexpectedState: If nothing was paid.
        NotRefundable: If too little is left or the bank already wants it back.
    """
    _require(intent, "refund", {"succeeded"})
    left = intent.amount_received - intent.amount_refunded
    back = left if amount is None else amount
    _check_refund(left, back, dispute)
    made = Refund(
        id=refund_id,
        payment_intent=intent.id,
        charge=intent.latest_charge or "",
        amount=back,
        currency=intent.currency,
        reason=reason,
        metadata=metadata,
        created=now,
    )
    after = _next(intent, amount_refunded=intent.amount_refunded + back)
    return Change(intent=after, refund=made, dispute=dispute, events=("refund.created", "charge.refunded"))


def open_dispute(intent: Intent, *, dispute_id: str, now: datetime) -> Change:
    """Let the payer's bank claim what was paid and not refunded.

    Raises:
        UnexpectedState: If nothing was paid.
        NotRefundable: If nothing is left.
    """
    _require(intent, "dispute", {"succeeded"})
    left = intent.amount_received - intent.amount_refunded
    _check_refund(left, left, None)
    made = Dispute(
        id=dispute_id,
        payment_intent=intent.id,
        charge=intent.latest_charge or "",
        amount=left,
        currency=intent.currency,
        created=now,
    )
    return Change(intent=_next(intent), dispute=made, events=("charge.dispute.created",))


def close_dispute(intent: Intent, dispute: Dispute | None, outcome: Literal["won", "lost"]) -> Change:
    """Decide an open dispute.

    Raises:
        NoDispute: If there is none.
    """
    if dispute is None or dispute.status != "needs_response":
        raise NoDispute
    decided = msgspec.structs.replace(dispute, status=outcome)
    return Change(intent=_next(intent), dispute=decided, events=("charge.dispute.closed",))


def _check_refund(left: int, amount: int, dispute: Dispute | None) -> None:
    if dispute is not None and dispute.status != "won":
        raise NotRefundable("charge_disputed", "The charge is disputed.")
    if left == 0:
        raise NotRefundable("charge_already_refunded", "The charge has been refunded already.")
    if amount > left:
        raise NotRefundable("amount_too_large", f"Only {left} can be refunded.")


def _require(intent: Intent, verb: str, states: frozenset[IntentStatus] | set[IntentStatus]) -> None:
    if intent.status not in states:
        raise UnexpectedState(f"You cannot {verb} this payment intent: its status is {intent.status}.")


def _next(intent: Intent, **changes: object) -> Intent:
    return msgspec.structs.replace(intent, version=intent.version + 1, **changes)


EventState = Literal["PENDING", "DELIVERED", "DROPPED", "GIVEN_UP"]
"""What became of an event on its way to us."""


class EventSeen(msgspec.Struct, frozen=True, kw_only=True):
    """An event as people look at it."""

    id: str
    type: str
    payment_intent: str
    state: EventState
    attempts: int
    last_outcome: str
    created: datetime
    delivered_at: datetime | None
