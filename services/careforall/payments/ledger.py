"""Double entry without I/O: which accounts a fact moves, and by how much. Called by `effects`, stored by `repository_ledger`.

An amount above zero is what an account receives, below zero what it gives; the lines of an entry add up to nothing. An entry is
booked where the fact is applied, under a key of its cause, so that it is booked once for ever.
"""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit.ids import new_id
from careforall.payments.domain import DisputeFact, Fact, Fee, Intent, StateFact, Verdict

EntryKind = Literal["CAPTURE", "REFUND", "DISPUTE", "DISPUTE_WON", "UNAPPLIED", "UNAPPLIED_REFUND", "FEE"]

DONATIONS, SALES, REFUNDS, DISPUTES, UNAPPLIED, FEES = "donations", "sales", "refunds", "disputes", "unapplied", "fees"
"""Income of gifts whose campaign nobody told us, income of orders, what went back, what banks hold back or took, money that
belongs to no open payment, and what gateways keep. The other accounts are named after their gateway or campaign."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """What one account receives, or gives."""

    account: str
    amount: Decimal
    currency: str


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One movement of money, with the cause it is booked for."""

    id: UUID
    payment_id: UUID
    kind: EntryKind
    cause_key: str
    campaign_id: UUID | None
    livemode: bool
    occurred_at: datetime
    lines: tuple[Line, ...]
    booked_at: datetime | None = None


def bookings(
    before: Intent, after: Intent, fact: Fact, verdict: Verdict, *, via: str, refund_id: UUID | None, at: datetime
) -> list[Entry]:
    """Return the entries of an applied fact, in the order in which the money moved.

    Args:
        before: The intent the fact was judged with.
        after: The intent after it.
        fact: What was said.
        verdict: What it did.
        via: The gateway that says it.
        refund_id: The refund behind money that went back.
        at: When it happened.
    """
    moved = _Moves(after, at)
    clearing = gateway_account(after.captured_via or via)
    if captured := after.captured_amount - before.captured_amount:
        moved.by("CAPTURE", "CAPTURED", captured, given_by=income_account(after), received_by=clearing)
    if verdict.refunded:
        moved.by("REFUND", str(refund_id), verdict.refunded, given_by=clearing, received_by=REFUNDS)
    if verdict.disputed > 0 and isinstance(fact, DisputeFact):
        moved.by("DISPUTE", str(fact.dispute_id), verdict.disputed, given_by=clearing, received_by=DISPUTES)
    elif verdict.disputed and isinstance(fact, DisputeFact):
        moved.by("DISPUTE_WON", str(fact.dispute_id), -verdict.disputed, given_by=DISPUTES, received_by=clearing)
    if verdict.unapplied > 0 and isinstance(fact, StateFact):
        key = f"{via}:{fact.gateway_object}"
        moved.by("UNAPPLIED", key, verdict.unapplied, given_by=UNAPPLIED, received_by=gateway_account(via))
    elif verdict.unapplied:
        moved.by("UNAPPLIED_REFUND", str(refund_id), -verdict.unapplied, given_by=gateway_account(via), received_by=UNAPPLIED)
    return moved.entries


def fee_of(intent: Intent, fact: Fact, *, via: str) -> Fee | None:
    """Return the fee that a fact tells of the object that paid an intent; None where it tells none, or that of another object."""
    if not isinstance(fact, StateFact) or fact.target != "CAPTURED" or fact.fee is None or fact.fee.amount <= 0:
        return None
    ours = bool(intent.captured_amount) and intent.captured_via == via
    return fact.fee if ours and fact.gateway_object == intent.gateway_object else None


def fee_booking(intent: Intent, fee: Fee, *, via: str, at: datetime) -> Entry:
    """Return the entry of what a gateway keeps of a capture: income stays gross, as totals and receipts are."""
    moved = _Moves(intent, at)
    moved.by("FEE", "CAPTURED", fee.amount, given_by=gateway_account(via), received_by=FEES, currency=fee.currency)
    return moved.entries[0]


def gateway_account(gateway: str) -> str:
    """Return the clearing account of a gateway: what it holds for us."""
    return f"gateway:{gateway}"


def income_account(intent: Intent) -> str:
    """Return where the money of a payment belongs."""
    if intent.subject_type == "ORDER":
        return SALES
    return f"campaign:{intent.campaign_id}" if intent.campaign_id is not None else DONATIONS


class _Moves:
    """Collects the entries of one payment."""

    def __init__(self, intent: Intent, at: datetime) -> None:
        self.entries: list[Entry] = []
        self._intent = intent
        self._at = at

    def by(
        self, kind: EntryKind, cause_key: str, amount: Decimal, *, given_by: str, received_by: str, currency: str = ""
    ) -> None:
        """Move an amount from one account to another; in the payment's currency if none is named."""
        intent = self._intent
        named = currency or intent.currency
        self.entries.append(
            Entry(
                id=new_id(),
                payment_id=intent.id,
                kind=kind,
                cause_key=cause_key[:200],
                campaign_id=intent.campaign_id,
                livemode=intent.livemode,
                occurred_at=self._at,
                lines=(
                    Line(account=received_by, amount=amount, currency=named),
                    Line(account=given_by, amount=-amount, currency=named),
                ),
            )
        )
