"""HTTP of the events that integrators read again."""

from typing import Annotated
from uuid import UUID

import msgspec
from litestar import Response, get
from litestar.params import QueryParameter

from careforall.kit.http.answers import finished
from careforall.kit.http.identity import admin_or_key
from careforall.kit.http.lists import cursor_of, read_cursor
from careforall.kit.idempotency import Answer
from careforall.sync.domain_webhooks import Stretch
from careforall.sync.publishing import Publishing
from careforall.sync.schemas_events import EventsAnswer, EventsPage

EventsCursorQuery = Annotated[
    str | None, QueryParameter(name="cursor", description="`next_cursor` of the answer before; without it the oldest come first.")
]
AfterQuery = Annotated[str | None, QueryParameter(name="after", description="Another name of `cursor`.")]
TypesQuery = Annotated[
    list[str] | None, QueryParameter(name="type", max_items=50, description="Events of this type alone; may be given repeatedly.")
]
LimitQuery = Annotated[int, QueryParameter(name="limit", ge=1, le=500, description="Events per answer, at most 500.")]


@get("/events", guards=[admin_or_key], summary="Read events again", tags=["webhooks"])
async def list_events(
    publishing: Publishing,
    cursor: EventsCursorQuery = None,
    after: AfterQuery = None,
    types: TypesQuery = None,
    limit: LimitQuery = 100,
) -> Response[EventsPage]:
    """Return what happened in the last 30 days, oldest first, in the order in which it was stored.

    Ask on with `next_cursor`, which is always there: an answer without items means that nothing has happened since. Nothing is
    skipped, however many events are stored meanwhile. For staff and API keys with the scope `sync:read`. Errors: 410
    `cursor_expired` where events after the cursor are not kept any more, 422 `unknown_event`, `invalid_cursor`.
    """
    place = read_cursor(cursor) or read_cursor(after, "/after")
    stretch = await publishing.read(place.int if place is not None else None, types or [], limit)
    return finished(Answer(status=200, body=_answer(stretch)))


def _answer(stretch: Stretch) -> bytes:
    items = [msgspec.Raw(event.body) for event in stretch.events]
    return msgspec.json.encode(EventsAnswer(items=items, next_cursor=cursor_of(UUID(int=stretch.reached))))


ROUTES = (list_events,)
