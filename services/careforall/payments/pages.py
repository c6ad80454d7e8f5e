"""The pay page: plain server-rendered HTML that works without JavaScript and says one clear thing.

While something is awaited it looks again: by a script where there are some, by loading itself anew where there are none.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import Any
from uuid import UUID

import jinja2
from litestar import MediaType, Request, Response, Router, get, post
from litestar.di import Provide
from litestar.response import Redirect
from markupsafe import Markup

from careforall.kit import money
from careforall.kit.errors import NotFound, Problem, TooManyRequests
from careforall.kit.http import inline
from careforall.kit.http.limits import Limit, Limiter, network_of
from careforall.kit.ids import born_at, parse_id
from careforall.payments.domain import OPEN_ATTEMPTS, Intent
from careforall.payments.errors import PaymentNotFound
from careforall.payments.paying import Paper
from careforall.payments.records import Attempt
from careforall.payments.service import PaymentsService

_WORDS: Mapping[str, tuple[str, str]] = {
    "missing": ("No such payment", "Please check the address, or open the link of your gift again."),
    "waiting": ("One moment", "Your payment is being prepared."),
    "limited": ("Too many tries", "Please wait a minute, then go back and try again."),
    "away": ("One moment", "We cannot look up your payment just now. Nothing is lost; please do not pay a second time."),
    "open": ("Complete your payment", "You pay on the gateway's own page and come back here."),
    "asking": ("One moment", "The gateway has not answered yet. We are asking it; please do not pay a second time."),
    "returned": ("Waiting for the gateway", "As soon as the gateway confirms your payment, it shows here."),
    "authorized": ("Payment authorised", "The amount is reserved. It is taken when your order is confirmed."),
    "captured": ("Thank you, your payment arrived", "A receipt is on its way to you."),
    "failed": ("Payment not completed", "You have not been charged. You are welcome to start again."),
    "expired": ("This payment has expired", "You have not been charged. You are welcome to start again."),
    "refunded": ("Payment returned", "The money is on its way back to you."),
}
"""Heading and sentence of each state."""
_FOR_STAFF = frozenset(
    {"gateway_unavailable", "gateway_not_configured", "gateway_credentials", "authentication_failed", "idempotency_mismatch"}
)
"""Codes of failures that payers can do nothing about, and whose reasons are noted for those who run the platform."""
_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("careforall.payments"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_pay = _templates.get_template("pay.html")
_SCRIPT = (files("careforall.payments") / "templates" / "pay.js").read_text(encoding="utf-8")
_REFRESH = 2
_PREPARING = timedelta(days=1)
"""How long after its id was made a payment may still be on its way here, and clocks may differ."""
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'unsafe-inline'; script-src {inline.source(_SCRIPT)}; connect-src 'self'; "
        "form-action *; base-uri 'none'; frame-ancestors 'none'"
    ),
}


class PayLimit:
    """How often one address may start an attempt: whoever tests stolen cards needs many (rule 21)."""

    def __init__(self, limiter: Limiter, per_minute: int) -> None:
        self._limiter = limiter
        self._limit = Limit("pay", per_minute)

    async def hit(self, address: str) -> None:
        """Count one start.

        Raises:
            TooManyRequests: The limit is used up.
        """
        await self._limiter.hit(self._limit, network_of(address))


@get("/pay/{id:str}", media_type=MediaType.HTML, summary="The pay page", include_in_schema=False)
async def pay_page(service: PaymentsService, id: str, request: Request[Any, Any, Any]) -> Response[str]:
    """Show what is to be paid and how it stands."""
    identifier = parse_id(id)
    if identifier is None:
        return _page("missing", status=404)
    paper = await service.paying.paper(identifier, returned="return" in request.query_params)
    if paper is None and not _may_come(identifier):
        return _page("missing", status=404)
    if paper is None:
        return _page("waiting", refresh=_REFRESH, status=202, identifier=identifier)
    return _shown(paper, returned="return" in request.query_params)


@post("/pay/{id:str}", summary="Go to the gateway", include_in_schema=False)
async def start_paying(service: PaymentsService, id: str, request: Request[Any, Any, Any], pay_limit: PayLimit) -> Redirect:
    """Make the gateway's object where there is none yet, and send the payer there."""
    await pay_limit.hit(str(request.scope["state"].get("client_address", "unknown")))
    identifier = parse_id(id)
    if identifier is None:
        raise PaymentNotFound
    address = await service.paying.pay(identifier)
    return Redirect(address or f"/pay/{identifier}", status_code=303)


def refused(_: Request[Any, Any, Any], problem: Problem) -> Response[str]:
    """Say on the page why nothing was done; Litestar's exception handler of these pages."""
    match problem:
        case NotFound():
            state, refresh = "missing", None
        case TooManyRequests():
            state, refresh = "limited", None
        case _:
            state, refresh = "away", _REFRESH
    answer = _page(state, status=problem.status, refresh=refresh)
    if problem.retry_after is not None:
        answer.headers["Retry-After"] = str(problem.retry_after)
    return answer


def router(limit: PayLimit) -> Router:
    """Mount the pages."""
    return Router(
        "/",
        route_handlers=[pay_page, start_paying],
        dependencies={"pay_limit": Provide(lambda: limit, sync_to_thread=False)},
        exception_handlers={Problem: refused},
    )


def _may_come(identifier: UUID) -> bool:
    """Whether a payment that is not here may be one that is being prepared."""
    born = born_at(identifier)
    return born is not None and abs(datetime.now(UTC) - born) < _PREPARING


def _shown(paper: Paper, *, returned: bool) -> Response[str]:
    intent = paper.intent
    state = _state(paper, returned=returned)
    return _page(
        state,
        refresh=_REFRESH if state in {"asking", "returned"} else None,
        identifier=intent.id,
        title=intent.title,
        amount=money.written(intent.amount, intent.currency),
        refunded=money.written(intent.refunded_amount, intent.currency) if intent.refunded_amount else "",
        declined="" if paper.asking else _declined(intent, paper.attempt),
        reason=intent.reason,
        test=not intent.livemode,
    )


def _state(paper: Paper, *, returned: bool) -> str:
    """Return the one thing the page says."""
    intent, last = paper.intent, paper.attempt
    if intent.status != "INITIATED":
        return intent.status.lower()
    if paper.asking:
        return "returned"
    if last is not None and last.status in OPEN_ATTEMPTS:
        if last.status != "OPEN":
            return "asking"
        return "returned" if returned else "open"
    return "expired" if paper.expired else "open"


def _declined(intent: Intent, last: Attempt | None) -> str:
    """Return why the last try failed, while another is possible."""
    if intent.status != "INITIATED" or last is None or last.status != "FAILED":
        return ""
    if last.code in _FOR_STAFF:
        return "The gateway did not take it."
    return f"{(last.reason or 'The payment was declined').rstrip('.')}."


def _page(
    state: str, *, status: int = 200, refresh: int | None = None, identifier: UUID | None = None, **facts: object
) -> Response[str]:
    heading, sentence = _WORDS[state]
    body = _pay.render(
        state=state,
        heading=heading,
        sentence=sentence,
        refresh=refresh,
        script=Markup(_SCRIPT),  # noqa: S704 - a file of ours; escaped it would be another script than the policy names
        identifier=identifier,
        **facts,
    )
    return Response(body, status_code=status, media_type=MediaType.HTML, headers=_HEADERS)
