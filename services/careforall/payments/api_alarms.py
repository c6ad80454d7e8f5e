"""HTTP of alarms, for staff: what waits for a person, and that somebody has looked."""

from typing import Annotated

from litestar import get, post
from litestar.params import QueryParameter

from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.payments.schemas_alarms import AlarmOut, Settling, alarm_out
from careforall.payments.service import PaymentsService

SettledQuery = Annotated[
    bool | None, QueryParameter(name="settled", description="Only settled ones, or only those that wait for a person.")
]


@get("/payments/alarms", guards=[admin_only], summary="List what waits for a person")
async def list_alarms(
    service: PaymentsService, settled: SettledQuery = None, cursor: CursorQuery = None, limit: LimitQuery = 20
) -> Page[AlarmOut]:
    """Return alarms, newest first."""
    found = await service.alarms.found(read_cursor(cursor), limit, settled=settled)
    return page([alarm_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@post("/payments/alarms/{id:str}/settle", guards=[admin_only], status_code=200, summary="Settle an alarm")
async def settle_alarm(service: PaymentsService, principal: Principal, id: str, data: Settling) -> AlarmOut:
    """Note that somebody has looked; it moves no money. Settling again changes nothing. Errors: 404 `alarm_not_found`."""
    return alarm_out(await service.alarms.settle(path_id(id), by=str(principal.user_id), note=data.note))


ROUTES = (list_alarms, settle_alarm)
