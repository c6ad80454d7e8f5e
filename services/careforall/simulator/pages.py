"""What people see of the simulated company: the hosted page on which a payer pays, and a front page that shows its books.

Plain HTML without scripts. Buttons post empty forms to paths of their own, because the platform reads no bodies but JSON.
"""

from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

import jinja2
import msgspec
from litestar import MediaType, Response, Router, get, post

from careforall.kit import money
from careforall.kit.errors import NotFound
from careforall.simulator.actions import Button
from careforall.simulator.domain import Intent
from careforall.simulator.service import Simulator

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store"}
_BUTTONS: dict[str, Button] = {"pay": "pay", "decline": "decline", "cancel": "cancel"}
_NO_MISHAPS = frozenset({"seed", "timeout_ms"})


class Pages:
    """Renders the templates."""

    def __init__(self) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("careforall.simulator"), autoescape=True, undefined=jinja2.StrictUndefined
        )
        self._environment.filters["money"] = shown_amount

    def render(self, template: str, **values: object) -> Response[str]:
        """Return a page."""
        text = self._environment.get_template(template).render(values)
        return Response(text, media_type=MediaType.HTML, headers=_HEADERS)


def shown_amount(minor: int, currency: str) -> str:
    """Return an amount as people read it, such as `€25.00`."""
    code = currency.upper()
    return money.written(money.from_cents(minor, code), code)


def way_back(intent: Intent, button: Button) -> str:
    """Return where the payer goes after a button: back to the shop, or to this page where none was named."""
    if not intent.return_url:
        return f"/simulator/pay/{intent.id}"
    told = {"payment_intent": intent.id, "redirect_status": redirect_status(intent, button)}
    parts = urlsplit(intent.return_url)
    query = "&".join(filter(None, (parts.query, urlencode(told))))
    return urlunsplit(parts._replace(query=query))


def redirect_status(intent: Intent, button: Button) -> str:
    """Return what the way back says about the payment."""
    match intent.status:
        case "succeeded" | "requires_capture":
            return "succeeded"
        case "canceled":
            return "canceled"
        case "requires_payment_method":
            return "failed" if button != "cancel" else "canceled"


def router(pages: Pages) -> Router:
    """Mount the pages."""

    @get("/")
    async def front_page(service: Simulator) -> Response[str]:
        """Show the company's books."""
        overview = await service.overview()
        turned = [pair for pair in msgspec.structs.asdict(overview.switches).items() if pair[0] not in _NO_MISHAPS]
        return pages.render("front.html", overview=overview, switches=turned)

    @get("/pay/{intent_id:str}")
    async def hosted_page(intent_id: str, service: Simulator) -> Response[str]:
        """Ask the payer to pay."""
        return pages.render("pay.html", intent=await service.intent(intent_id))

    @post("/pay/{intent_id:str}/{button:str}")
    async def press(intent_id: str, button: str, service: Simulator) -> Response[Any]:
        """Do what the payer pressed and send them back."""
        if button not in _BUTTONS:
            raise NotFound
        intent = await service.press(intent_id, _BUTTONS[button])
        where = way_back(intent, _BUTTONS[button])
        return Response(None, status_code=HTTPStatus.SEE_OTHER, headers={"Location": where, "Cache-Control": "no-store"})

    return Router("/simulator", route_handlers=[front_page, hosted_page, press], include_in_schema=False)
