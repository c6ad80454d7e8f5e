"""HTTP of campaigns and donations: parse by signature, one service call, return a Struct."""

from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, patch, post
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from careforall.contracts.donations import CampaignStatus, DonationStatus
from careforall.contracts.donor import normalised
from careforall.donations.domain import Campaign, Donation, zoned
from careforall.donations.giving import ROUTE
from careforall.donations.repository import Filter, HistoryRow
from careforall.donations.schemas import (
    CampaignOut,
    CampaignPatch,
    DonationCreatedOut,
    DonationOut,
    HistoryEntry,
    IntentRef,
    NewCampaign,
    NewDonation,
    Progress,
    StatusPatch,
)
from careforall.donations.service import DonationsService
from careforall.kit import context, idempotency, money
from careforall.kit.errors import Forbidden, Unavailable
from careforall.kit.http import problem
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, scope_of, wanted_version
from careforall.kit.http.description import SOME_ID, example
from careforall.kit.http.hot import HotRequest, HotResponse, HotRoute
from careforall.kit.http.identity import Principal, admin_only, signed_in
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.idempotency import Call, checked_key, fingerprint
from careforall.kit.service import Ask
from careforall.kit.sheets import guarded, line

_DONATE = "/api/v1/donations"
_COLUMNS = [
    *("id", "created_at", "campaign_id", "campaign", "status", "amount", "refunded", "disputed", "net", "currency"),
    *("email", "name"),
]
ReceiptToken = Annotated[str | None, HeaderParameter(name="X-Receipt-Token", description="Shows a guest their own gift.")]
IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
CampaignBody = Annotated[NewCampaign, example({"title": "School books", "goal": "500.00", "currency": "EUR", "status": "LIVE"})]
GiftBody = Annotated[
    NewDonation, example({"campaign_id": SOME_ID, "donor_email": "donor1@example.org", "amount": "25.00", "currency": "EUR"})
]


@post("/campaigns", guards=[admin_only], summary="Create a campaign")
async def create_campaign(
    service: DonationsService,
    principal: Principal,
    data: CampaignBody,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[CampaignOut]:
    """Create a campaign; it takes donations once its status is LIVE."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, shown(await service.create_campaign(connection, data)))

    call = await idempotent_call(request, idempotency_key, "POST /campaigns", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get("/campaigns", summary="List campaigns")
async def list_campaigns(
    service: DonationsService,
    visitor: Principal | None,
    status: CampaignStatus | None = None,
    q: Annotated[str, QueryParameter(max_length=100, description="Part of the title.")] = "",
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[CampaignOut]:
    """Return campaigns, newest first; drafts are for staff."""
    found = await service.campaigns(visitor, status, q, read_cursor(cursor), limit)
    return page([shown(campaign) for campaign in found], limit=limit, last=found[-1].id if found else None)


@get("/campaigns/{id:str}", summary="Show a campaign")
async def get_campaign(service: DonationsService, visitor: Principal | None, ask: Ask, id: str) -> Response[CampaignOut]:
    """Return a campaign with its progress."""
    found = await service.campaign(path_id(id), visitor)
    return Response(shown(found, await _progress(ask, found)), headers=etag(found.version))


@patch("/campaigns/{id:str}", guards=[admin_only], summary="Change a campaign")
async def patch_campaign(
    service: DonationsService,
    id: str,
    data: CampaignPatch,
    if_match: IfMatch = None,
) -> Response[CampaignOut]:
    """Change what is given; send the version you have read to be told of changes in between (409)."""
    changed = await service.change_campaign(path_id(id), data, wanted_version(data.version, if_match))
    return Response(shown(changed), headers=etag(changed.version))


@post("/donations", summary="Give")
async def create_donation(
    service: DonationsService,
    visitor: Principal | None,
    data: GiftBody,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[DonationCreatedOut]:
    """Accept a gift: 201 means it is stored for good. Open `payment_intent.pay_url` to pay.

    Errors: 404 `campaign_not_found`, 409 `campaign_not_open`, 422 with the fields at fault.
    """
    call = _call(idempotency_key, visitor, data, await request.body())
    return finished(await service.giving.give(data, giver=visitor, call=call, cause=context.current()))


@get("/donations/history", guards=[signed_in], summary="A donor's gifts")
async def donation_history(
    service: DonationsService,
    principal: Principal,
    email: Annotated[str | None, QueryParameter(max_length=254)] = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[DonationOut]:
    """Return the gifts of a mail, newest first, to its verified owner or staff."""
    mail = email or principal.email
    own = principal.email_verified and normalised(mail) == normalised(principal.email)
    if not (own or principal.is_admin):
        raise Forbidden("Verify this mail first, or ask for your own.")
    found = await service.donations_of(mail, read_cursor(cursor), limit)
    return page([donation_out(donation) for donation in found], limit=limit, last=found[-1].id if found else None)


@get("/donations/export", guards=[admin_only], summary="Export donations as CSV", media_type="text/csv")
async def export_donations(
    service: DonationsService,
    campaign_id: UUID | None = None,
    status: DonationStatus | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> Stream:
    """Stream donations; without `status` those whose money was captured, so that the sum equals the totals."""
    first, last = zoned(since, "/since"), zoned(until, "/until")
    wanted = Filter(campaign_id=campaign_id, status=status, since=first, until=last)
    headers = {"Content-Disposition": 'attachment; filename="donations.csv"'}
    pages = service.export(wanted)
    begun: list[Donation] = await anext(pages, [])  # what cannot be read at all is refused, not a file that breaks off
    return Stream(_csv(begun, pages), media_type="text/csv; charset=utf-8", headers=headers)


@get("/donations/{id:str}", summary="Show a gift")
async def get_donation(
    service: DonationsService,
    visitor: Principal | None,
    id: str,
    receipt_token: ReceiptToken = None,
) -> Response[DonationOut]:
    """Return a gift to its giver, to staff, or to the holder of its receipt token; to others it does not exist."""
    found = await service.donation(path_id(id), visitor, receipt_token)
    return Response(donation_out(found), headers=etag(found.version))


@get("/donations/{id:str}/audit", summary="Every transition of a gift")
async def donation_audit(
    service: DonationsService,
    visitor: Principal | None,
    id: str,
    receipt_token: ReceiptToken = None,
) -> list[HistoryEntry]:
    """Return what happened to a gift and why."""
    donation, entries = await service.history(path_id(id), visitor, receipt_token)
    return [_entry(donation, entry) for entry in entries]


@patch("/donations/{id:str}/status", summary="Take a step (internal)")
async def set_status(service: DonationsService, request: Request[Any, Any, Any], id: str, data: StatusPatch) -> DonationOut:
    """Take one legal step on the order of another service; only payments knows of captures."""
    caller: str = request.scope["state"]["calling_service"]
    if data.status != "FAILED" and caller != "payments":
        raise Forbidden("Only payments may say that money moved.")
    return donation_out(await service.set_status(path_id(id), data.status, data.version, caller))


ROUTES = (
    create_campaign,
    list_campaigns,
    get_campaign,
    patch_campaign,
    create_donation,
    donation_history,
    export_donations,
    get_donation,
    donation_audit,
)
INTERNAL = (set_status,)


def hot_routes(service: DonationsService) -> tuple[HotRoute, ...]:
    """Return the thin twin of `create_donation`."""

    async def donate(request: HotRequest) -> HotResponse:
        try:
            new = _decode(request.body)
        except msgspec.ValidationError as error:
            raise problem.from_validation(error) from error
        giver = await request.principal() if b"authorization" in request.headers or b"x-api-key" in request.headers else None
        call = _call(request.idempotency_key, giver, new, request.body)
        answer = await service.giving.give(new, giver=giver, call=call, cause=request.cause)
        replayed = ((b"idempotent-replayed", b"true"),) if answer.replayed else ()
        return HotResponse(status=answer.status, body=answer.body, headers=replayed)

    return (HotRoute(method="POST", path=_DONATE, template=_DONATE, service="donations", handler=donate),)


def shown(campaign: Campaign, progress: Progress | None = None) -> CampaignOut:
    """Return a campaign as the API shows it."""
    currency = campaign.currency
    return CampaignOut(
        id=campaign.id,
        title=campaign.title,
        story=campaign.story,
        goal=money.show(campaign.goal, currency),
        currency=currency,
        status=campaign.status,
        starts_at=campaign.starts_at,
        ends_at=campaign.ends_at,
        suggested_amounts=[money.show(amount, currency) for amount in campaign.suggested_amounts],
        minimum=money.show(campaign.minimum, currency) if campaign.minimum is not None else None,
        maximum=money.show(campaign.maximum, currency) if campaign.maximum is not None else None,
        version=campaign.version,
        created_at=campaign.created_at,
        updated_at=campaign.updated_at,
        progress=progress,
    )


def donation_out(donation: Donation) -> DonationOut:
    """Return a gift as its giver sees it."""
    return DonationOut(
        id=donation.id,
        campaign_id=donation.campaign_id,
        campaign_title=donation.campaign_title,
        status=donation.status,
        amount=money.show(donation.amount, donation.currency),
        refunded_amount=money.show(donation.refunded_amount, donation.currency),
        disputed_amount=money.show(donation.disputed_amount, donation.currency),
        currency=donation.currency,
        donor_email=donation.donor_email,
        donor_name=donation.donor_name,
        anonymous=donation.anonymous,
        message=donation.message,
        payment_intent=IntentRef(id=donation.intent_id, pay_url=f"/pay/{donation.intent_id}"),
        version=donation.version,
        extra_data=donation.extra_data,
        created_at=donation.created_at,
        updated_at=donation.updated_at,
    )


_decode = msgspec.json.Decoder(NewDonation).decode


def _call(key: str | None, giver: Principal | None, new: NewDonation, body: bytes) -> Call | None:
    checked = checked_key(key)
    if checked is None:
        return None
    scope = scope_of(ROUTE, giver, normalised(new.donor_email))
    return Call(scope=scope, key=checked, fingerprint=fingerprint("POST", _DONATE, scope, body))


def _entry(donation: Donation, row: HistoryRow) -> HistoryEntry:
    return HistoryEntry(
        from_status=row.from_status,
        to_status=row.to_status,
        cause=row.cause,
        event_id=row.cause_event,
        refunded_amount=money.show(row.refunded_amount, donation.currency),
        disputed_amount=money.show(row.disputed_amount, donation.currency),
        version=row.version,
        time=row.at,
    )


async def _progress(ask: Ask, campaign: Campaign) -> Progress | None:
    """Ask totals how far the campaign has come; without an answer the campaign is shown without progress."""
    try:
        answer = await ask("query.totals.campaign", campaign.id.bytes)
    except Unavailable:
        return None
    total = msgspec.json.decode(answer, type=_Total)
    percent = float(total.total_amount / campaign.goal * 100)
    return Progress(
        raised=money.show(total.total_amount, campaign.currency), donations=total.total_donations, percent=round(percent, 2)
    )


class _Total(msgspec.Struct):
    total_amount: Decimal
    total_donations: int


async def _csv(begun: list[Donation], pages: AsyncIterator[list[Donation]]) -> AsyncIterator[str]:
    """Write pages as CSV; anonymous gifts carry no person, and no cell can start a formula."""
    yield line(_COLUMNS) + "".join(line(_cells(donation)) for donation in begun)
    async for donations in pages:
        yield "".join(line(_cells(donation)) for donation in donations)


def _cells(donation: Donation) -> list[str]:
    person = ["", ""] if donation.anonymous else [guarded(donation.donor_email), guarded(donation.donor_name)]
    return [
        str(donation.id),
        donation.created_at.isoformat().replace("+00:00", "Z"),
        str(donation.campaign_id),
        guarded(donation.campaign_title),
        donation.status,
        money.show(donation.amount, donation.currency),
        money.show(donation.refunded_amount, donation.currency),
        money.show(donation.disputed_amount, donation.currency),
        money.show(donation.net_amount, donation.currency),
        donation.currency,
        *person,
    ]
