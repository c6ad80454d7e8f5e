"""HTTP of the audit log, for staff."""

from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.params import QueryParameter

from careforall.audit.repository import Filter
from careforall.audit.schemas import ChainCheck, EventOut, EventWithProof, Head
from careforall.audit.service import AuditService
from careforall.audit.verification.report import Report
from careforall.kit.errors import InvalidInput
from careforall.kit.http.identity import admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.ids import parse_id


@get("/audit/events", guards=[admin_only], summary="The audit log")
async def events(
    service: AuditService,
    event_type: Annotated[str | None, QueryParameter(name="type", max_length=200)] = None,
    aggregate_id: str | None = None,
    correlation_id: Annotated[str | None, QueryParameter(max_length=200)] = None,
    limit: LimitQuery = 20,
    cursor: CursorQuery = None,
) -> Page[EventOut]:
    """Return logged events, newest first."""
    wanted = Filter(event_type=event_type, aggregate_id=_id(aggregate_id), correlation_id=correlation_id)
    found = await service.events(wanted, read_cursor(cursor), limit)
    return page([EventOut.of(event) for event in found], limit=limit, last=found[-1].event_id if found else None)


@get("/audit/events/{identifier:str}", guards=[admin_only], summary="One event with its proof")
async def event(service: AuditService, identifier: str) -> EventWithProof:
    """Return an event with the proof that the chain contains it."""
    return EventWithProof.of(*await service.event(path_id(identifier)))


@get("/audit/chain/head", guards=[admin_only], summary="The signed head of the chain")
async def head(service: AuditService) -> Head:
    """Return the newest link, signed."""
    return Head.of(await service.head())


@get("/audit/chain/verify", guards=[admin_only], summary="Recompute the chain")
async def verify(
    service: AuditService,
    first: Annotated[int, QueryParameter(name="from", ge=1, description="The first link to recompute.")] = 1,
    limit: Annotated[int, QueryParameter(ge=1, le=1000, description="Links to recompute at most.")] = 200,
) -> ChainCheck:
    """Recompute links and everything they commit to; `next` continues where this answer ends."""
    return ChainCheck.of(await service.verify(first, limit))


@get("/audit/verification", guards=[admin_only], summary="What the continuous verification found")
async def verification(service: AuditService) -> Report:
    """Return the newest report of the continuous verification."""
    return await service.report()


def _id(text: str | None) -> UUID | None:
    if text is None:
        return None
    found = parse_id(text)
    if found is None:
        raise InvalidInput.field("/aggregate_id", "invalid_value", "not an id")
    return found


ROUTES = (events, event, head, verify, verification)
