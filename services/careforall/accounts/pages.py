"""The pages behind mailed links: plain server-rendered HTML that works without JavaScript and says one clear thing.

Programs that look through mails open every link, so opening a page uses nothing up; pressing its button does. Nobody reads on
these pages whose account it is.
"""

from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import jinja2
import msgspec
from litestar import MediaType, Request, Response, Router, get, post
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED
from markupsafe import Markup

from careforall.accounts.domain import PASSWORD_LENGTHS, LinkPurpose
from careforall.accounts.errors import InvalidLink
from careforall.accounts.service import AccountsService
from careforall.kit.errors import InvalidInput, Problem, TooManyRequests
from careforall.kit.http import inline

AnyRequest = Request[Any, Any, Any]
Words = Mapping[str, tuple[str, str]]
"""Heading and sentence of each state."""

_ALWAYS: Words = {
    "limited": ("Too many tries", "Please wait a minute, go back and try again."),
    "away": ("One moment, please", "This does not work just now. Go back and try again in a moment."),
}
_ASKING = frozenset({"ask", "ended"})


class LinkPage(msgspec.Struct, frozen=True, kw_only=True):
    """What one kind of link leads to."""

    path: str
    purpose: LinkPurpose
    button: str
    words: Words


VERIFICATION = LinkPage(
    path="/verify-email",
    purpose="VERIFY_EMAIL",
    button="Confirm my address",
    words={
        **_ALWAYS,
        "open": ("Confirm your e-mail address", "Press the button to confirm that the address is yours."),
        "done": ("Your e-mail address is confirmed", "Thank you. You can close this page."),
        "ended": (
            "This link has expired or was used",
            "If your address is confirmed already, nothing is left to do. Otherwise tell us the address, and we send a new link.",
        ),
        "ask": ("Confirm your e-mail address", "Tell us the address of your account, and we send a link to it."),
        "sent": (
            "Please look into your mailbox",
            "If an account with this address waits to be confirmed, a new link is on its way. Only the newest link works.",
        ),
    },
)
RESET = LinkPage(
    path="/reset-password",
    purpose="RESET_PASSWORD",
    button="Set the new password",
    words={
        **_ALWAYS,
        "open": (
            "Choose a new password",
            f"It has at least {PASSWORD_LENGTHS.start} characters. You sign in anew with it everywhere.",
        ),
        "done": (
            "Your new password is set",
            "From now on you sign in with it. Whoever was signed in to your account is so no longer.",
        ),
        "ended": (
            "This link has expired or was used",
            "If you have not set a new password with it, tell us the address of your account, and we send a new link.",
        ),
        "ask": (
            "Have you forgotten your password?",
            "Tell us the address of your account, and we send a link with which you choose a new one.",
        ),
        "sent": (
            "Please look into your mailbox",
            "If there is an account with this address, a new link is on its way. Only the newest link works.",
        ),
    },
)
_BY_PATH = {page.path: page for page in (VERIFICATION, RESET)}
_templates = jinja2.Environment(
    loader=jinja2.PackageLoader("careforall.accounts"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)
_link = _templates.get_template("link.html")
_STYLE = (files("careforall.accounts") / "templates" / "link.css").read_text(encoding="utf-8")
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src {inline.source(_STYLE)}; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    # The address of the page holds the token: it must not travel on with whatever is opened next.
    "Referrer-Policy": "no-referrer",
}


@get(VERIFICATION.path, media_type=MediaType.HTML, summary="Prove a mail", include_in_schema=False)
async def verification_page(service: AccountsService, request: AnyRequest) -> Response[str]:
    """Show the button that proves a mail."""
    return await _opened(VERIFICATION, service, request)


@post(VERIFICATION.path, media_type=MediaType.HTML, status_code=HTTP_200_OK, include_in_schema=False)
async def verify(service: AccountsService, request: AnyRequest) -> Response[str]:
    """Use up the link, or mail a new one to whoever asks."""
    form, client = await request.form(), _client(request)
    if "email" in form:
        await service.registration.request_verification(str(form["email"]), client=client)
        return _shown(VERIFICATION, "sent", status=HTTP_202_ACCEPTED)
    await service.registration.verify_email(str(form.get("token", "")), client=client)
    return _shown(VERIFICATION, "done")


@get(RESET.path, media_type=MediaType.HTML, summary="Set a new password", include_in_schema=False)
async def reset_page(service: AccountsService, request: AnyRequest) -> Response[str]:
    """Show the form for a new password."""
    return await _opened(RESET, service, request)


@post(RESET.path, media_type=MediaType.HTML, status_code=HTTP_200_OK, include_in_schema=False)
async def reset(service: AccountsService, request: AnyRequest) -> Response[str]:
    """Set the password, or mail a new link to whoever asks; after a password that is refused the link stays good."""
    form, client = await request.form(), _client(request)
    if "email" in form:
        await service.registration.request_reset(str(form["email"]), client=client)
        return _shown(RESET, "sent", status=HTTP_202_ACCEPTED)
    token = str(form.get("token", ""))
    try:
        await service.registration.reset_password(token, str(form.get("password", "")), client=client)
    except InvalidInput as refusal:
        return _shown(RESET, "open", status=refusal.status, token=token, refused=_sentence(refusal))
    return _shown(RESET, "done")


def refused(request: AnyRequest, problem: Problem) -> Response[str]:
    """Say on the page why nothing was done; Litestar's exception handler of these pages."""
    page = _BY_PATH[request.scope["path_template"]]
    headers = {"Retry-After": str(problem.retry_after)} if problem.retry_after is not None else {}
    match problem:
        case InvalidLink():
            return _shown(page, "ended", status=problem.status)
        case InvalidInput():
            return _shown(page, "ask", status=problem.status, refused=_sentence(problem))
        case TooManyRequests():
            return _shown(page, "limited", status=problem.status, headers=headers)
        case _:
            return _shown(page, "away", status=problem.status, headers=headers)


def router() -> Router:
    """Mount the pages."""
    return Router("/", route_handlers=[verification_page, verify, reset_page, reset], exception_handlers={Problem: refused})


async def _opened(page: LinkPage, service: AccountsService, request: AnyRequest) -> Response[str]:
    token = request.query_params.get("token", "")
    if not token:
        return _shown(page, "ask")
    if not await service.registration.holds(token, page.purpose, client=_client(request)):
        raise InvalidLink
    return _shown(page, "open", token=token)


def _shown(
    page: LinkPage,
    state: str,
    *,
    status: int = HTTP_200_OK,
    token: str = "",
    refused: str = "",
    headers: Mapping[str, str] | None = None,
) -> Response[str]:
    heading, sentence = page.words[state]
    body = _link.render(
        heading=heading,
        sentence=sentence,
        refused=refused,
        path=page.path,
        token=token,
        button=page.button,
        chooses=page is RESET,
        asks=state in _ASKING,
        shortest=PASSWORD_LENGTHS.start,
        style=Markup(_STYLE),  # noqa: S704 - a file of ours; escaped it would be another style than the policy names
    )
    return Response(body, status_code=status, media_type=MediaType.HTML, headers={**_HEADERS, **(headers or {})})


def _sentence(refusal: InvalidInput) -> str:
    return f"This was not accepted: {refusal.errors[0].message if refusal.errors else refusal.detail}."


def _client(request: AnyRequest) -> str:
    return str(request.scope["state"].get("client_address", "unknown"))
