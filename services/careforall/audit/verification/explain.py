"""The story of one id across all services: each row, message, decision and reason, in the order of time."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import asyncpg
import msgspec

from careforall.audit.verification import stories
from careforall.audit.verification.books import Books, Platform, opened
from careforall.audit.verification.stories import Chapter
from careforall.kit.ids import parse_id

_ROUNDS = 3
_MOST = 500


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened, or stands written."""

    at: datetime
    service: str
    kind: Literal["row", "message", "decision"]
    what: str
    id: str
    reason: str
    detail: dict[str, Any]


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """All that is known about an id. `ids` are the things it led to."""

    id: str
    ids: list[str]
    entries: list[Entry]


async def explain(platform: Platform, text: str) -> Story:
    """Tell the story of a donation, order, intent, event or request."""
    async with opened(platform) as books:
        ids = await _related(books, text)
        entries = [
            entry for chapter in stories.CHAPTERS if books.has(chapter.service) for entry in await _read(books, chapter, ids)
        ]
        entries += await _heard(books, entries, ids)
    unique = {(entry.service, entry.what, entry.id, entry.at): entry for entry in entries}
    ordered = sorted(unique.values(), key=lambda entry: (entry.at, entry.service, entry.what))
    return Story(id=text, ids=[str(one) for one in sorted(ids)], entries=ordered)


def told(story: Story) -> str:
    """Return a story for people."""
    if not story.entries:
        return f"Nothing is known about {story.id}."
    lines = [f"{story.id}: {len(story.entries)} entries about {len(story.ids)} things", ""]
    for entry in story.entries:
        lines.append(
            f"{entry.at.isoformat(timespec='milliseconds')}  {entry.service:<14} {entry.kind:<9} {entry.what}  {entry.id}"
        )
        if entry.reason:
            lines.append(f"{'':31}because: {entry.reason}")
        lines += [f"{'':31}{name}: {value}" for name, value in entry.detail.items() if value not in (None, "")]
    return "\n".join(lines)


async def _related(books: Books, text: str) -> set[UUID]:
    """Follow an id, an order number or a request id to the donations, orders, intents and events it belongs to."""
    start = parse_id(text)
    found: set[UUID] = {start} if start else set()
    if books.has("orders"):
        found |= {row["id"] for row in await books.fetch("orders", stories.OF_ORDER_NUMBER, text)}
    if books.has("audit") and text:
        rows = await books.fetch("audit", stories.OF_CORRELATION, text)
        found |= {row["event_id"] for row in rows} | {row["aggregate_id"] for row in rows}
    for _ in range(_ROUNDS):
        before = len(found)
        for service, sql in stories.RELATIONS:
            if books.has(service):
                rows = await books.fetch(service, sql, sorted(found)[:_MOST])
                found |= {value for row in rows for value in row.values() if isinstance(value, UUID)}
        if len(found) == before:
            break
    return found


async def _read(books: Books, chapter: Chapter, ids: Iterable[UUID]) -> list[Entry]:
    rows = await books.fetch(chapter.service, chapter.sql, sorted(ids)[:_MOST])
    return [_entry(chapter.service, chapter.kind, chapter.what, row) for row in rows]


async def _heard(books: Books, entries: Iterable[Entry], ids: Iterable[UUID]) -> list[Entry]:
    """Return who applied, refused or failed at the messages of the story."""
    events = sorted({UUID(entry.id) for entry in entries if entry.kind == "message"} | set(ids))[: _MOST * 4]
    found: list[Entry] = []
    for subscription in books.platform.subscriptions:
        if books.has(subscription.service):
            rows = await books.fetch(subscription.service, stories.INBOX, subscription.consumer, events)
            found += [_entry(subscription.service, "message", "applied", row) for row in rows]
    for service in sorted(books.services):
        keys = [str(one) for one in events]
        found += [
            _entry(service, "decision", "dead letter", row) for row in await books.fetch(service, stories.DEAD_LETTERS, keys)
        ]
        found += [_entry(service, "decision", "failed try", row) for row in await books.fetch(service, stories.FAILURES, keys)]
    return found


def _entry(service: str, kind: Literal["row", "message", "decision"], what: str, row: asyncpg.Record) -> Entry:
    values: dict[str, Any] = dict(row)
    return Entry(
        at=values.pop("at"),
        service=service,
        kind=kind,
        what=" ".join(filter(None, [what, str(values.pop("what", "") or "")])),
        id=str(values.pop("id")),
        reason=str(values.pop("reason", "") or ""),
        detail={name: value if isinstance(value, int | str | None) else str(value) for name, value in values.items()},
    )
