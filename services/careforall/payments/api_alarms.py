"""HTTP of alarms, for staff: what waits for a person, and that somebody has looked."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from litestar import get, post
from litestar.params import QueryParameter

from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.payments.repository_alarms import RaisedAlarm
from careforall.payments.service import PaymentsService

SettledQuery = Annotated[
    bool | None, QueryParameter(name="settled", description="Only settled ones, or only those that wait for a person.")
]


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


@get("/payments/alarms", guards=[admin_only], summary="List what waits for a person")
async def list_alarms(
    service: PaymentsService, settled: SettledQuery = None, cursor: CursorQuery = None, limit: LimitQuery = 20
) -> Page[AlarmOut]:
    """Return alarms, newest first."""
    found = await service.alarms.found(read_cursor(cursor), limit, settled=settled)
    return page([_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@post("/payments/alarms/{id:str}/settle", guards=[admin_only], status_code=200, summary="Settle an alarm")
async def settle_alarm(service: PaymentsService, principal: Principal, id: str, data: Settling) -> AlarmOut:
    """Note that somebody has looked; it moves no money. Settling again changes nothing. Errors: 404 `alarm_not_found`."""
    return _out(await service.alarms.settle(path_id(id), by=str(principal.user_id), note=data.note))


def _out(alarm: RaisedAlarm) -> AlarmOut:
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


ROUTES = (list_alarms, settle_alarm)
