"""HTTP of the ledger, for staff."""

from datetime import date
from typing import Annotated
from uuid import UUID

from litestar import get
from litestar.params import QueryParameter

from careforall.kit.http.identity import admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, read_cursor
from careforall.payments.repository_ledger import LedgerFilter
from careforall.payments.schemas_ledger import Balances, LedgerEntry, balances_out, entry_out
from careforall.payments.service import PaymentsService

AccountQuery = Annotated[
    str | None,
    QueryParameter(name="account", max_length=60, description="Such as `gateway:simulator`, `campaign:<id>` or `refunds`."),
]
SinceQuery = Annotated[date | None, QueryParameter(name="since", description="The first day of booking (UTC).")]
UntilQuery = Annotated[date | None, QueryParameter(name="until", description="The last day of booking (UTC).")]


@get("/payments/ledger", guards=[admin_only], summary="The ledger")
async def ledger(
    service: PaymentsService,
    account: AccountQuery = None,
    payment_id: UUID | None = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[LedgerEntry]:
    """Return entries with their lines, newest first."""
    wanted = LedgerFilter(account=account, payment_id=payment_id, since=since, until=until)
    found = await service.bookkeeping.entries(wanted, read_cursor(cursor), limit)
    return page([entry_out(entry) for entry in found], limit=limit, last=found[-1].id if found else None)


@get("/payments/ledger/balances", guards=[admin_only], summary="Balances of the ledger's accounts")
async def ledger_balances(
    service: PaymentsService,
    account: AccountQuery = None,
    campaign_id: UUID | None = None,
    since: SinceQuery = None,
    until: UntilQuery = None,
) -> Balances:
    """Return the balance of each account, or of one; of a campaign, and of some days, if asked for."""
    wanted = LedgerFilter(account=account, campaign_id=campaign_id, since=since, until=until)
    return balances_out(await service.bookkeeping.balances(wanted))


ROUTES = (ledger, ledger_balances)
