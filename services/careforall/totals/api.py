"""HTTP of totals: parse by signature, one service call, return a Struct; and the thin twin of the busiest route."""

from collections.abc import AsyncIterator
from typing import Annotated, TypeVar
from urllib.parse import parse_qs
from uuid import UUID

import msgspec
from litestar import Response, get, post
from litestar.params import QueryParameter
from litestar.response import Stream
from litestar.status_codes import HTTP_200_OK

from careforall.kit import json
from careforall.kit.errors import InvalidInput
from careforall.kit.http.hot import HotRequest, HotResponse, HotRoute
from careforall.kit.http.identity import admin_only
from careforall.kit.http.lists import MAX_LIMIT, LimitQuery, Page, path_id
from careforall.kit.ids import parse_id
from careforall.totals.domain import Reading
from careforall.totals.schemas import (
    Analytics,
    CampaignTotals,
    Compared,
    Refreshed,
    RefreshRequest,
    analytics,
    compared,
    encode,
    shown,
)
from careforall.totals.service import TotalsService

_PATH = "/api/v1/totals/campaigns/"
_SHARED = "public, max-age=1, stale-while-revalidate=5"
_NOT_KEPT = "no-store"
_WARNING = '110 - "Response is Stale"'
_RETRY_MS = 2000

T = TypeVar("T")
RealtimeQuery = Annotated[bool, QueryParameter(name="realtime", description="Read the exact counters, past every cache.")]
IdsQuery = Annotated[
    list[str] | None, QueryParameter(name="ids", description="Campaign ids, comma separated or repeated, at most 100.")
]


@get("/totals/campaigns/{id:str}", summary="Totals of a campaign")
async def campaign_totals(
    service: TotalsService,
    id: str,
    *,
    realtime: RealtimeQuery = False,
) -> Response[CampaignTotals]:
    """Return the totals of a campaign; one without gifts has zeros. `cache_level` says where they were read."""
    reading = (await service.totals(path_id(id), realtime=realtime)).reading
    return Response(shown(reading), headers=_headers(reading))


@get("/totals/campaigns", summary="Totals of several campaigns")
async def many_totals(service: TotalsService, ids: IdsQuery = None) -> Response[Page[CampaignTotals]]:
    """Return totals in the order asked for."""
    return _page(await service.many(_ids(ids or [])))


@get("/totals/campaigns/top", summary="The campaigns that raised most")
async def top_totals(service: TotalsService, limit: LimitQuery = 10) -> Response[Page[CampaignTotals]]:
    """Return totals, highest amount first."""
    return _page(await service.top(limit))


@get("/totals/campaigns/{id:str}/stream", summary="Live totals of a campaign", media_type="text/event-stream")
async def stream_totals(service: TotalsService, id: str) -> Stream:
    """Send the totals now and whenever they change, as events named `totals`; the event id is their revision."""
    readings = await service.follow(path_id(id))
    headers = {"Cache-Control": _NOT_KEPT, "X-Accel-Buffering": "no"}
    return Stream(_events(readings), media_type="text/event-stream", headers=headers)


@get("/totals/campaigns/{id:str}/analytics", guards=[admin_only], summary="A campaign by day and by donor")
async def campaign_analytics(service: TotalsService, id: str) -> Analytics:
    """Return days and top donors as of the last refresh; donors are keyed hashes."""
    totals, days, donors = await service.analytics(path_id(id))
    return analytics(totals.campaign_id, totals.currency, days, donors)


@post("/totals/refresh", guards=[admin_only], status_code=HTTP_200_OK, summary="Refresh the view or a campaign")
async def refresh(service: TotalsService, data: RefreshRequest | None = None) -> Refreshed:
    """Refresh the materialised view, or the cached totals of the campaign given."""
    return await _refresh(service, data)


@post("/totals/compare", guards=[admin_only], status_code=HTTP_200_OK, summary="Compare counters with a recount")
async def compare(service: TotalsService) -> Compared:
    """Recount all campaigns now, as is done every night; the metric `careforall_totals_drift` follows."""
    return compared(await service.compare())


@post("/totals/refresh", status_code=HTTP_200_OK, summary="Refresh the view or a campaign (internal)")
async def refresh_inside(service: TotalsService, data: RefreshRequest | None = None) -> Refreshed:
    """Refresh the materialised view, or the cached totals of the campaign given."""
    return await _refresh(service, data)


ROUTES = (campaign_totals, many_totals, top_totals, stream_totals, campaign_analytics, refresh, compare)
INTERNAL = (refresh_inside,)


def hot_routes(service: TotalsService) -> tuple[HotRoute, ...]:
    """Return the thin twins of `campaign_totals` and, because it lies under the same prefix, of `top_totals`."""

    async def one(request: HotRequest) -> HotResponse:
        key = request.path[len(_PATH) :]
        if not request.query and (body := service.ready(key)) is not None:
            return HotResponse(status=HTTP_200_OK, body=body, headers=_FRESH_FIELDS)
        realtime = _query(request.query, "realtime", bool, default=False)
        answer = await service.totals(path_id(key), realtime=realtime)
        return HotResponse(status=HTTP_200_OK, body=answer.body, headers=_fields(answer.reading))

    async def top(request: HotRequest) -> HotResponse:
        limit = _query(request.query, "limit", _Limit, default=10)
        answer = _page(await service.top(limit))
        return HotResponse(status=HTTP_200_OK, body=json.encode(answer.content), headers=_FRESH_FIELDS)

    return (
        HotRoute(
            method="GET",
            path=_PATH,
            template=f"{_PATH}{{id}}",
            service="totals",
            handler=one,
            prefix=True,
            query=frozenset({b"realtime"}),
        ),
        HotRoute(
            method="GET", path=f"{_PATH}top", template=f"{_PATH}top", service="totals", handler=top, query=frozenset({b"limit"})
        ),
    )


_Limit = Annotated[int, msgspec.Meta(ge=1, le=MAX_LIMIT)]
_FRESH_FIELDS = ((b"cache-control", _SHARED.encode()),)
_NOT_KEPT_FIELDS = ((b"cache-control", _NOT_KEPT.encode()),)
_STALE_FIELDS = (*_NOT_KEPT_FIELDS, (b"warning", _WARNING.encode()))


def _fields(reading: Reading) -> tuple[tuple[bytes, bytes], ...]:
    """How long others may keep an answer, and a warning with one that may be out of date."""
    if reading.stale:
        return _STALE_FIELDS
    return _NOT_KEPT_FIELDS if reading.level == "realtime" else _FRESH_FIELDS


def _headers(reading: Reading) -> dict[str, str]:
    return {name.decode().title(): value.decode() for name, value in _fields(reading)}


def _page(readings: list[Reading]) -> Response[Page[CampaignTotals]]:
    doubtful = next((reading for reading in readings if reading.stale), None)
    headers = _headers(doubtful) if doubtful else {"Cache-Control": _SHARED}
    return Response(Page(items=[shown(reading) for reading in readings]), headers=headers)


def _ids(given: list[str]) -> list[UUID]:
    """Return the ids asked for, each once, in order."""
    texts = [text.strip() for part in given for text in part.split(",")]
    found = list(dict.fromkeys(parse_id(text) for text in texts))
    if not 0 < len(found) <= MAX_LIMIT:
        raise InvalidInput.field("/ids", "invalid_value", f"ask for 1 to {MAX_LIMIT} campaigns")
    ids = [campaign_id for campaign_id in found if campaign_id is not None]
    if len(ids) < len(found):
        raise InvalidInput.field("/ids", "invalid_value", "write campaign ids as UUIDs, comma separated")
    return ids


def _query(query: bytes, name: str, kind: type[T], *, default: T) -> T:
    """Read one query parameter as the framework does, with the same refusal."""
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get(name)
    if not values:
        return default
    try:
        return msgspec.convert(values[-1], kind, strict=False)
    except msgspec.ValidationError as error:
        raise InvalidInput.field(f"/{name}", "invalid_value", str(error)) from error


async def _events(readings: AsyncIterator[Reading | None]) -> AsyncIterator[bytes]:
    """Write server-sent events; the framework's own would send an empty message with each heartbeat."""
    yield b"retry: %d\n\n" % _RETRY_MS
    async for reading in readings:
        if reading is None:
            yield b": heartbeat\n\n"
        else:
            yield b"event: totals\nid: %d\ndata: %s\n\n" % (reading.totals.revision, encode(reading))


async def _refresh(service: TotalsService, data: RefreshRequest | None) -> Refreshed:
    if data is not None and data.campaign_id is not None:
        return Refreshed(refreshed=str(data.campaign_id), refreshed_at=await service.refresh_campaign(data.campaign_id))
    return Refreshed(refreshed="campaign_totals", refreshed_at=await service.refresh_view())
