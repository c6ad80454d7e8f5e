"""Words and rules of telling people, without I/O: what may still be told, and how long to wait before the next try.

What an event makes people read is in `drafting`.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.accounts import (
    EmailVerificationRequested,
    EmailVerified,
    PasswordResetRequested,
    PreferencesChanged,
    UserErased,
    UserRegistered,
)
from careforall.contracts.donations import DonationCompleted, DonationCreated, DonationFailed, DonationRefunded
from careforall.contracts.orders import OrderCancelled, OrderConfirmed, OrderCreated, OrderRefunded, OrderShipped
from careforall.kit.envelope import Message

Channel = Literal["EMAIL", "WEBHOOK", "IN_APP"]
Status = Literal["PENDING", "SENT", "FAILED", "DEAD"]
Language = Literal["en", "de"]
AccountEvent = (
    UserRegistered | EmailVerificationRequested | EmailVerified | PasswordResetRequested | PreferencesChanged | UserErased
)
DonationEvent = DonationCreated | DonationCompleted | DonationFailed | DonationRefunded
OrderEvent = OrderCreated | OrderConfirmed | OrderShipped | OrderCancelled | OrderRefunded

CHANNELS: tuple[Channel, ...] = ("EMAIL", "WEBHOOK", "IN_APP")
LANGUAGES: tuple[Language, ...] = ("en", "de")
TEMPLATES = (
    "donation_received",
    "donation_completed",
    "donation_failed",
    "donation_refunded",
    "order_received",
    "order_confirmed",
    "order_shipped",
    "order_cancelled",
    "order_refunded",
    "welcome",
    "password_reset",
    "notice",
)
"""What can be said; each has a text and an HTML file per language."""

FIRST_RETRY, LONGEST_RETRY = 5.0, 3600.0


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account; `language` is None where they chose none."""

    user_id: UUID
    email: str
    verified: bool
    version: int = 0
    language: Language | None = None
    in_app: bool = True


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """How somebody wants to be written to, as accounts says; receipts and security mails go by mail whatever they wish."""

    user_id: UUID
    email: str
    language: Language | None
    in_app: bool
    at: datetime


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """A message and what became of it; FAILED is tried again at `next_retry_at`, DEAD is given up."""

    id: UUID
    subject_id: UUID
    template: str
    channel: Channel
    recipient: str
    language: Language
    status: Status
    retry_count: int
    next_retry_at: datetime | None
    error: str | None
    created_at: datetime
    sent_at: datetime | None


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """Whose stream is open, by a token of when, and until when."""

    user_id: UUID
    issued_at: datetime
    until: datetime


class InboxItem(msgspec.Struct, frozen=True, kw_only=True):
    """A message in somebody's in-app inbox."""

    id: UUID
    subject_id: UUID
    template: str
    title: str
    body: str
    created_at: datetime
    read_at: datetime | None


class StoredMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail in the local mailbox."""

    id: UUID
    subject_id: UUID
    sender: str
    recipient: str
    subject: str
    text: str
    html: str
    created_at: datetime


class KeptMail(msgspec.Struct, frozen=True, kw_only=True):
    """A mail as it is kept, and what puts it into words where it has none yet; an erased one has neither."""

    mail: StoredMail
    template: str
    language: Language
    payload: dict[str, str]


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A message to be kept and sent."""

    cause_event_id: UUID
    subject_id: UUID
    template: str
    channel: Channel
    recipient: str
    language: Language
    payload: dict[str, str]
    fact: str | None = None
    """Names what is said; one fact is told once per channel, whichever event says it."""
    user_id: UUID | None = None
    donor_key: str | None = None
    limited: bool = False
    """Whether anybody may have caused it, so that its recipient gets only so many mails of its kind an hour."""


class Outbound(msgspec.Struct, frozen=True, kw_only=True):
    """A stored message that a channel is to carry now."""

    id: UUID
    subject_id: UUID
    template: str
    channel: Channel
    recipient: str
    language: Language
    user_id: UUID | None
    payload: dict[str, str]
    retry_count: int
    created_at: datetime


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A draft under the id it is stored with; `sent` where it is delivered in the transaction that stores it."""

    id: UUID
    draft: Draft
    sent: bool = False


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one try. `lasting` failures are not repeated; `uncounted` ones never reached the provider."""

    sent: bool = False
    error: str = ""
    lasting: bool = False
    uncounted: bool = False
    retry_after: float | None = None


SENT = Outcome(sent=True)


def wish_of(message: Message[AccountEvent]) -> Wish | None:
    """Return what somebody wishes, if the event says so; a language without templates counts as none chosen."""
    event = message.event
    if not isinstance(event, PreferencesChanged):
        return None
    spoken = event.language.replace("_", "-").partition("-")[0].lower()
    return Wish(
        user_id=event.user_id,
        email=event.email,
        language=next((language for language in LANGUAGES if language == spoken), None),
        in_app="IN_APP" in event.channels,
        at=message.occurred_at,
    )


def retry_delay(retries: int, jitter: float) -> float:
    """Return the seconds before the next try: doubling, at most an hour, between half and all of it (`jitter` 0 to 1)."""
    full = min(FIRST_RETRY * 2.0 ** min(retries, 20), LONGEST_RETRY)
    return full * (0.5 + jitter / 2)


def erasure_keys(draft: Draft) -> list[str]:
    """Return the keys under which the person of a draft, or what it is about, may have been erased."""
    return [key for key in (draft.donor_key, str(draft.user_id) if draft.user_id else None, str(draft.subject_id)) if key]


def wanted(drafts: Sequence[tuple[Draft, datetime]], erased: Mapping[str, datetime]) -> list[Draft]:
    """Return the drafts that may still be told: not those of events from before the person was erased."""
    return [draft for draft, at in drafts if not any(key in erased and at <= erased[key] for key in erasure_keys(draft))]


def pace_of(draft: Draft) -> tuple[str, str]:
    """Return what limited mails are counted by: the address and what they say."""
    return draft.recipient.lower(), draft.template


def within_pace(drafts: Sequence[Draft], sent: Mapping[tuple[str, str], int], most: int) -> list[Draft]:
    """Return the drafts without the limited ones that are too many for their recipient.

    Args:
        drafts: In the order of their causes.
        sent: How many there were within the hour, by pace.
        most: How many there may be.
    """
    left = {pace: most - count for pace, count in sent.items()}
    kept = []
    for draft in drafts:
        if draft.limited:
            left[pace_of(draft)] -= 1
            if left[pace_of(draft)] < 0:
                continue
        kept.append(draft)
    return kept


def pseudonym(key: str) -> str:
    """Return what stands in place of an erased person's address."""
    return f"erased-{key[:16]}"
