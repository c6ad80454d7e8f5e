"""HTTP of notifications: somebody's own inbox and stream, the messages about a subject, and the internal order to send."""

from typing import Annotated
from uuid import UUID

from litestar import get, post
from litestar.params import HeaderParameter
from litestar.response import ServerSentEvent
from litestar.status_codes import HTTP_200_OK, HTTP_202_ACCEPTED, HTTP_204_NO_CONTENT

from careforall.kit.http.identity import Principal, admin_only, signed_in
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.ids import parse_id
from careforall.notifications.domain import Draft, InboxItem, Notification
from careforall.notifications.live import Streams
from careforall.notifications.schemas import SendIn, TicketOut
from careforall.notifications.service import NotificationsService


@get("/notifications", guards=[signed_in], summary="Your inbox")
async def inbox(
    service: NotificationsService,
    principal: Principal,
    unread: bool = False,  # noqa: FBT001, FBT002 - a query parameter
    limit: LimitQuery = 20,
    cursor: CursorQuery = None,
) -> Page[InboxItem]:
    """Return your in-app messages, newest first."""
    items = await service.inbox(principal.user_id, unread=unread, before=read_cursor(cursor), limit=limit)
    return page(items, limit=limit, last=items[-1].id if items else None)


@post("/notifications/{identifier:str}/read", guards=[signed_in], status_code=HTTP_200_OK, summary="Mark a message as read")
async def mark_read(service: NotificationsService, principal: Principal, identifier: str) -> InboxItem:
    """Mark one of your in-app messages as read."""
    return await service.mark_read(principal.user_id, path_id(identifier))


@get("/notifications/{subject_id:str}", guards=[signed_in], summary="Messages about a donation or an account")
async def of_subject(
    service: NotificationsService, principal: Principal, subject_id: str, limit: LimitQuery = 20, cursor: CursorQuery = None
) -> Page[Notification]:
    """Return the messages about a subject: yours, or for staff all of them."""
    items = await service.of_subject(principal, path_id(subject_id), read_cursor(cursor), limit)
    return page(items, limit=limit, last=items[-1].id if items else None)


@get("/notifications/dead-letters", guards=[admin_only], summary="Messages given up on")
async def dead_letters(service: NotificationsService, limit: LimitQuery = 20, cursor: CursorQuery = None) -> Page[Notification]:
    """Return the messages that were given up on, newest first."""
    items = await service.dead(read_cursor(cursor), limit)
    return page(items, limit=limit, last=items[-1].id if items else None)


@post(
    "/notifications/dead-letters/{identifier:str}/retry",
    guards=[admin_only],
    status_code=HTTP_204_NO_CONTENT,
    summary="Try a message again",
)
async def retry(service: NotificationsService, identifier: str) -> None:
    """Send a message again that was given up on."""
    await service.revive(path_id(identifier))


@post("/notifications/stream/tickets", guards=[signed_in], summary="A ticket for the stream")
async def ticket(service: NotificationsService, principal: Principal) -> TicketOut:
    """Return a ticket that opens your stream once, for clients that cannot send headers."""
    return TicketOut(ticket=await service.ticket(principal))


@get("/notifications/stream", summary="Your inbox, live")
async def stream(
    service: NotificationsService,
    visitor: Principal | None,
    streams: Streams,
    ticket: str | None = None,
    last_event_id: Annotated[str | None, HeaderParameter(name="Last-Event-ID")] = None,
) -> ServerSentEvent:
    """Follow your in-app messages as server-sent events; the stream ends with your token.

    Errors: 401 `invalid_ticket`, 429 for more than 20 streams of one person.
    """
    reader = await service.reader(visitor, ticket)
    streams.admit(reader)
    after: UUID | None = parse_id(last_event_id) if last_event_id else None
    return ServerSentEvent(streams.follow(service, reader, after), headers={"cache-control": "no-store"})


@post("/notifications/send", status_code=HTTP_202_ACCEPTED, summary="Send a message")
async def send(service: NotificationsService, data: SendIn) -> Notification:
    """Accept a message of another service; a repeat of its cause returns the first one."""
    return await service.send(
        Draft(
            cause_event_id=data.cause_id,
            subject_id=data.subject_id,
            template=data.template,
            channel=data.channel,
            recipient=data.recipient,
            language=data.language or "en",
            payload=data.payload,
            user_id=data.user_id,
        )
    )


ROUTES = (inbox, mark_read, of_subject, dead_letters, retry, ticket, stream)
INTERNAL = (send,)
