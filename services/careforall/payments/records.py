"""Rows besides the intent itself: what the service and the repository hand each other."""

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts.payments import Method, PaymentStatus, SubjectType
from careforall.kit.outbox import Outgoing
from careforall.payments.domain import OBJECT_ENDED, AttemptStatus, DisputeStatus, Intent, RefundStatus
from careforall.payments.ledger import Entry


class NewIntent(msgspec.Struct, frozen=True, kw_only=True):
    """What an intent is made of; the rest is the database's."""

    id: UUID
    subject_type: SubjectType
    subject_id: UUID
    campaign_id: UUID | None
    title: str
    user_id: UUID | None
    amount: Decimal
    currency: str
    gateway: str
    method: Method | None
    correlation_id: str
    traceparent: str | None
    livemode: bool = False
    expires_at: datetime | None = None
    """Until when it can be paid, where its subject says so."""


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One try at a gateway to fulfil an intent."""

    intent_id: UUID
    number: int
    gateway: str
    status: AttemptStatus
    gateway_object: str = ""
    redirect_url: str = ""
    reason: str = ""
    code: str = ""
    asked: int = 0
    ask_at: datetime | None = None
    created_at: datetime | None = None
    updated_at: datetime | None = None

    @property
    def payable_object(self) -> str:
        """The gateway's object that its payer may still pay, also after a decline; empty where there is none."""
        over = self.status == "SUCCEEDED" or self.code == OBJECT_ENDED
        return "" if over else self.gateway_object

    def again(self) -> "Attempt":
        """Return the next attempt on the same object, which stays payable after a decline: there is never a second one."""
        return Attempt(
            intent_id=self.intent_id,
            number=self.number + 1,
            gateway=self.gateway,
            status="OPEN",
            gateway_object=self.gateway_object,
            redirect_url=self.redirect_url,
        )


class Transition(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded step."""

    payment_id: UUID
    from_status: PaymentStatus
    to_status: PaymentStatus
    version: int
    cause: str
    event_id: UUID | None
    event_time: datetime | None
    received_at: datetime | None = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    """Money that goes back."""

    id: UUID
    intent_id: UUID
    gateway: str
    gateway_refund_id: str | None
    amount: Decimal
    status: RefundStatus
    parked: bool = False
    reason: str = ""
    requested_by: str = ""
    request_key: str | None = None
    request_hash: bytes | None = None
    answer: bytes | None = None
    unapplied: bool = False
    """Of money that came after its intent had failed; `gateway_object` is what captured it."""
    gateway_object: str = ""
    tries: int = 0
    created_at: datetime | None = None
    settled_at: datetime | None = None


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    """Money that a payer's bank wants back; a parked one does not count."""

    id: UUID
    intent_id: UUID
    gateway: str
    gateway_dispute_id: str
    amount: Decimal
    status: DisputeStatus
    parked: bool = False
    reason: str = ""
    opened_at: datetime | None = None
    settled_at: datetime | None = None


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """A fact stored and not applied; equal ones are one row."""

    kind: str
    gateway: str
    subject_key: str
    payment_id: UUID | None
    body_hash: bytes = b""
    detail: str = ""


class EventRow(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook event with its outcome and stored answer."""

    gateway: str
    dedupe_key: str
    id: UUID
    body_hash: bytes
    event_type: str
    payment_id: UUID | None
    outcome: str
    reason: str
    http_status: int
    answer: bytes
    event_time: datetime | None


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A step that a checkout asks for; `new` is the intent to be made where it is not there yet."""

    step_id: UUID
    intent_id: UUID
    what: str
    new: NewIntent | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """The answer of a step that is known for good."""

    step_id: UUID
    body: bytes


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """An intent before and after the facts of one transaction."""

    before: Intent
    after: Intent


class Changes:
    """Everything one transaction is going to write, collected so that each table takes one statement."""

    def __init__(self) -> None:
        self.intents: dict[UUID, Step] = {}
        self.transitions: list[Transition] = []
        self.attempts: dict[tuple[UUID, int], Attempt] = {}
        self.refunds: dict[UUID, Refund] = {}
        self.disputes: dict[UUID, Dispute] = {}
        self.entries: list[Entry] = []
        self.alarms: list[Alarm] = []
        self.outbox: list[Outgoing] = []

    def put(self, before: Intent, after: Intent) -> None:
        """Note an intent's newest state, keeping the one the database has."""
        known = self.intents.get(before.id)
        self.intents[before.id] = Step(before=known.before if known else before, after=after)


def columns_of(rows: Sequence[Any], names: Sequence[str]) -> list[list[Any]]:
    """Return rows as parallel lists for `unnest`."""
    return [[getattr(row, name) for row in rows] for name in names]
