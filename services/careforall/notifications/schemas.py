"""HTTP shapes of notifications that are not the stored things themselves. Input forbids unknown fields."""

from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Meta

from careforall.notifications.domain import Channel, Language

Value = Annotated[str, Meta(max_length=4000)]


class SendIn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send one message. `cause_id` makes a repeat harmless: cause, template, recipient and channel are unique together."""

    cause_id: UUID
    subject_id: UUID
    template: Annotated[str, Meta(max_length=64)]
    channel: Channel
    recipient: Annotated[str, Meta(min_length=1, max_length=2000)]
    payload: Annotated[dict[str, Value], Meta(max_length=50)] = {}
    language: Language | None = None
    user_id: UUID | None = None


class TicketOut(msgspec.Struct, frozen=True, kw_only=True):
    """Opens the stream once within 30 seconds: /notifications/stream?ticket=..."""

    ticket: str
    expires_in: int = 30
