"""HTTP of reconciliation, for staff: order runs, see what they found, switch them off."""

from typing import Annotated, Any

from litestar import Request, Response, get, post, put
from litestar.params import QueryParameter

from careforall.kit.http.answers import RequiredKey, finished, required_call
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.payments.schemas_reconciliation import (
    FindingOut,
    RunOrder,
    RunOut,
    RunsOut,
    SwitchOrder,
    SwitchOut,
    finding_out,
    run_out,
)
from careforall.payments.service import PaymentsService

GatewayQuery = Annotated[str | None, QueryParameter(name="gateway", max_length=40, description="Runs with this gateway only.")]


@get("/payments/reconciliation", guards=[admin_only], summary="List comparisons with gateways")
async def list_runs(
    service: PaymentsService, gateway: GatewayQuery = None, cursor: CursorQuery = None, limit: LimitQuery = 20
) -> Page[RunOut]:
    """Return runs with their counts, newest first."""
    found = await service.reconciling.reports(gateway, read_cursor(cursor), limit)
    return page([run_out(one.run, one.counts) for one in found], limit=limit, last=found[-1].run.id if found else None)


@get("/payments/reconciliation/{id:str}", guards=[admin_only], summary="Show a comparison with a gateway")
async def get_run(service: PaymentsService, id: str) -> RunOut:
    """Return a run with its counts."""
    found = await service.reconciling.report(path_id(id))
    return run_out(found.run, found.counts)


@get("/payments/reconciliation/{id:str}/findings", guards=[admin_only], summary="List what a comparison found")
async def list_findings(
    service: PaymentsService, id: str, cursor: CursorQuery = None, limit: LimitQuery = 20
) -> Page[FindingOut]:
    """Return differences in the order they were found."""
    found = await service.reconciling.findings(path_id(id), read_cursor(cursor), limit)
    return page([finding_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@post("/payments/reconciliation/run", guards=[admin_only], status_code=202, summary="Order a comparison with gateways")
async def order_run(
    service: PaymentsService,
    principal: Principal,
    data: RunOrder,
    request: Request[Any, Any, Any],
    idempotency_key: RequiredKey = None,
) -> Response[RunsOut]:
    """Compare with one gateway or all that can be asked; a worker begins within seconds, `GET` shows how far it is.

    Errors: 400 without Idempotency-Key, 404 `gateway_not_configured`, 409 `reconciler_off`, 422 for times that are none.
    """
    call = await required_call(request, idempotency_key, "POST /payments/reconciliation/run", principal)
    return finished(await service.reconciling.order(data, call=call, by=str(principal.user_id)))


@put("/payments/reconciliation/switch", guards=[admin_only], summary="Stop the reconciler, or let it go on")
async def turn_switch(service: PaymentsService, principal: Principal, data: SwitchOrder) -> SwitchOut:
    """Stop it at once: the run under way ends at its next slice, and none begins until it is turned on again."""
    await service.reconciling.switch(on=data.on, by=str(principal.user_id))
    return SwitchOut(on=await service.reconciling.is_on())


ROUTES = (list_runs, get_run, list_findings, order_run, turn_switch)
