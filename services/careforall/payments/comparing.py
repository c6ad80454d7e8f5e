"""Which bucket a gateway's object falls into beside our intent; pure rules of the reconciler."""

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.payments.domain import Intent, StateFact, paid_elsewhere
from careforall.payments.gateways.base import GatewayObject

Bucket = Literal["matched", "ours_only", "theirs_only", "amount_differs"]
Action = Literal["none", "applied", "alarmed", "settled"]
RunKind = Literal["HOURLY", "DAILY", "ORDERED"]
RunStatus = Literal["REQUESTED", "RUNNING", "FINISHED", "STOPPED"]

MISFITS = ("out_of_order", "refund_exceeds_captured", "refund_reversed", "already_failed", "dispute_exceeds_captured")
"""Reasons for which an event was ignored that leave a doubt; what was rejected, or known to nobody, always does."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One comparison with one gateway over a time; `reached` is how far it came."""

    id: UUID
    gateway: str
    kind: RunKind
    since: datetime
    until: datetime
    reached: datetime
    dry_run: bool = False
    requested_by: str = ""
    status: RunStatus = "REQUESTED"
    calls: int = 0
    reason: str = ""
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What did not agree, and what was done about it."""

    id: UUID
    run_id: UUID
    gateway: str
    bucket: Bucket
    gateway_object: str
    payment_id: UUID | None
    currency: str
    ours: str
    theirs: str
    action: Action
    detail: str = ""
    created_at: datetime | None = None


def state_of(found: GatewayObject) -> StateFact | None:
    """Return what an object says about the state of its money, None while nothing has happened."""
    return next((fact for fact in found.facts if isinstance(fact, StateFact)), None)


def compare(theirs: GatewayObject, ours: Intent | None, *, returned: Decimal = Decimal(0)) -> Bucket | None:
    """Return the bucket of an object; None where there is nothing to compare: no money on either side.

    Args:
        theirs: The object as the gateway tells it.
        ours: The intent it belongs to, None if nobody here knows it.
        returned: What of the intent's money goes back or went back: a capture on a failed intent is settled by that.
    """
    state = state_of(theirs)
    if state is None or state.target == "FAILED":
        return _without_money(theirs, ours, ended=state is not None)
    if ours is None:
        return "theirs_only"
    if state.currency not in {None, ours.currency} or state.amount not in {None, ours.amount}:
        return "amount_differs"
    if state.target == "AUTHORIZED":
        return _held(ours)
    if not ours.captured_amount:
        return "matched" if returned >= ours.amount else "theirs_only"
    return "theirs_only" if paid_elsewhere(ours, state.gateway_object) else "matched"


def shown(status: str, amount: Decimal | None, currency: str | None) -> str:
    """Return one side of a difference in words."""
    return " ".join(part for part in (status, f"{amount:f}" if amount is not None else "", currency or "") if part)


def _without_money(theirs: GatewayObject, ours: Intent | None, *, ended: bool) -> Bucket | None:
    if ours is None:
        return None
    if ours.gateway_object == theirs.id and (ours.captured_amount or ours.status == "AUTHORIZED"):
        return "ours_only"
    return "theirs_only" if ended and ours.status == "INITIATED" else None


def _held(ours: Intent) -> Bucket:
    if ours.captured_amount:
        return "ours_only"
    return "matched" if ours.status == "AUTHORIZED" else "theirs_only"
