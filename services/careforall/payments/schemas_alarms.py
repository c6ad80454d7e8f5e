"""HTTP shapes of alarms."""

from datetime import datetime
from uuid import UUID

import msgspec

from careforall.payments.repository_alarms import RaisedAlarm


class Settling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What came of it, for whoever asks later."""

    note: str = ""


class AlarmOut(msgspec.Struct, frozen=True, kw_only=True):
    """Something that did not fit and was not applied; `settled_by` is empty where it came to agree by itself."""

    id: UUID
    kind: str
    gateway: str
    subject: str
    payment_id: UUID | None
    detail: str
    created_at: datetime
    settled_at: datetime | None
    settled_by: str
    note: str


def alarm_out(alarm: RaisedAlarm) -> AlarmOut:
    """Show an alarm."""
    return AlarmOut(
        id=alarm.id,
        kind=alarm.kind,
        gateway=alarm.gateway,
        subject=alarm.subject_key,
        payment_id=alarm.payment_id,
        detail=alarm.detail,
        created_at=alarm.created_at,
        settled_at=alarm.settled_at,
        settled_by=alarm.settled_by,
        note=alarm.note,
    )
