"""The mailbox page of development instances: what the local mail provider kept, as plain HTML and as JSON for scripts."""

from typing import Annotated, Any
from uuid import UUID

import jinja2
from litestar import Response, get
from litestar.params import QueryParameter

from careforall.kit.errors import InvalidInput
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.ids import parse_id
from careforall.notifications.domain import StoredMail
from careforall.notifications.service import NotificationsService

ToQuery = Annotated[str | None, QueryParameter(name="to", max_length=254, description="Only mails to this address.")]
SubjectQuery = Annotated[str | None, QueryParameter(name="subject_id", description="Only mails about this donation or account.")]
_HEADERS = {
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; form-action 'self'",
}


def pages() -> tuple[Any, ...]:
    """Return the handlers of the mailbox."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("careforall.notifications", "pages"), autoescape=True, undefined=jinja2.StrictUndefined
    )

    @get("/mailbox", media_type="text/html", include_in_schema=False)
    async def mailbox(
        service: NotificationsService, to: ToQuery = None, subject_id: SubjectQuery = None, cursor: CursorQuery = None
    ) -> Response[str]:
        found = await _found(service, to, subject_id, cursor, 50)
        return _html(environment, "mailbox.html", page=found, to=to or "", subject_id=subject_id or "")

    @get("/mailbox/{identifier:str}", media_type="text/html", include_in_schema=False)
    async def mail(service: NotificationsService, identifier: str) -> Response[str]:
        return _html(environment, "mail.html", mail=await service.mail(path_id(identifier)))

    @get("/mailbox/messages", include_in_schema=False)
    async def messages(
        service: NotificationsService,
        to: ToQuery = None,
        subject_id: SubjectQuery = None,
        limit: LimitQuery = 20,
        cursor: CursorQuery = None,
    ) -> Page[StoredMail]:
        return await _found(service, to, subject_id, cursor, limit)

    return (mailbox, mail, messages)


async def _found(
    service: NotificationsService, to: str | None, subject_id: str | None, cursor: str | None, limit: int
) -> Page[StoredMail]:
    items = await service.mailbox(to=to or None, subject_id=_subject(subject_id), before=read_cursor(cursor), limit=limit)
    return page(items, limit=limit, last=items[-1].id if items else None)


def _subject(text: str | None) -> UUID | None:
    if not text:
        return None
    found = parse_id(text)
    if found is None:
        raise InvalidInput.field("/subject_id", "invalid_value", "not an id")
    return found


def _html(environment: jinja2.Environment, template: str, **values: object) -> Response[str]:
    return Response(environment.get_template(template).render(**values), media_type="text/html", headers=_HEADERS)
