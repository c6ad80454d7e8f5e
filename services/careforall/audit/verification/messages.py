"""Every published event has its one effect with every subscriber: outboxes against inboxes.

One walk over each outbox decides what is applied, under way, or missing, and with it the cut-off up to which every subscriber has
followed: comparisons between databases stop there. What the broker has handed out and nobody acknowledged comes again after its
waiting time, so only older gaps count as holes.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from careforall.audit.verification import repository
from careforall.audit.verification.books import Books, Subscription
from careforall.audit.verification.report import Outcome, Violation
from careforall.kit.ids import NIL, born_at

PAGE = 2_000
"""Rows looked at in one go: the consumers of this process wait that long for their turn."""
GRACE = timedelta(seconds=90)
"""Longer than the broker waits for an acknowledgement before it hands a message out again."""
OUTBOX_KEPT = timedelta(hours=71)
_MOST = 10_000


class Followed(msgspec.Struct, frozen=True, kw_only=True):
    """How far the subscribers have followed."""

    cut_off: datetime
    under_way: int
    outcomes: list[Outcome]


class _Gap(msgspec.Struct, frozen=True):
    """An event that a subscriber has not applied."""

    id: UUID
    event_type: str
    sequence: int
    created_at: datetime
    published_at: datetime


class _Trail:
    """What one subscriber has applied of one outbox."""

    def __init__(self, subscription: Subscription) -> None:
        self.subscription = subscription
        self.newest = 0
        self.gaps: list[_Gap] = []

    async def see(self, books: Books, rows: Sequence[Any]) -> None:
        """Compare a page of the outbox with the inbox."""
        heard = {kind for kind in {row["event_type"] for row in rows} if self.subscription.hears(kind)}
        mine = [row for row in rows if row["status"] == "PROCESSED" and row["event_type"] in heard]
        if not mine:
            return
        found = await books.fetch(
            self.subscription.service, repository.APPLIED, self.subscription.consumer, [row["id"] for row in mine]
        )
        applied = {row["message_id"] for row in found}
        self.newest = max([self.newest, *(row["stream_sequence"] or 0 for row in mine if row["id"] in applied)])
        missing = [row for row in mine if row["id"] not in applied]
        self.gaps += [
            _Gap(row["id"], row["event_type"], row["stream_sequence"] or 0, row["created_at"], row["published_at"])
            for row in missing[: max(0, _MOST - len(self.gaps))]
        ]

    async def excuse(self, books: Books) -> None:
        """Forget gaps that are explained: given up on or being tried again, and counted elsewhere."""
        keys = [str(gap.id) for gap in self.gaps]
        rows = await books.fetch(self.subscription.service, repository.EXCUSED, self.subscription.consumer, keys)
        excused = {row["message_key"] for row in rows}
        self.gaps = [gap for gap in self.gaps if str(gap.id) not in excused]

    def holes(self, now: datetime) -> list[_Gap]:
        """Return gaps that were overtaken and are too old to be under way."""
        return [gap for gap in self.gaps if gap.sequence < self.newest and gap.published_at < now - GRACE]


async def follow(books: Books, *, since: UUID, slack: timedelta) -> Followed:
    """Walk all outboxes from `since` on.

    Args:
        books: The open books.
        since: Id after which outbox rows are looked at; the nil id looks at all.
        slack: How long a message may be under way before somebody stands still.
    """
    now = datetime.now(UTC)
    cut_off, under_way = now, 0
    holes: list[Violation] = []
    stalled: list[Violation] = []
    for service, stream in books.publishers():
        trails = [_Trail(subscription) for subscription in books.subscribers(stream)]
        waiting = await _walk(books, service, trails, since)
        stalled += [_waits(service, at) for at in waiting[:1] if at < now - slack]
        for trail in trails:
            await trail.excuse(books)
            gone = trail.holes(now)
            holes += [_hole(service, trail, gap) for gap in gone]
            late = sorted(gap.created_at for gap in trail.gaps if gap not in gone)
            stalled += [_stands(service, trail, late) for at in late[:1] if at < now - slack]
            waiting += late
        under_way += len(waiting)
        cut_off = min([cut_off, *waiting])
    outcomes = [
        Outcome(name="messages.no_holes", services=tuple(sorted(books.services)), violations=holes),
        Outcome(name="messages.nobody_stands_still", services=tuple(sorted(books.services)), violations=stalled),
    ]
    return Followed(cut_off=cut_off - timedelta(seconds=1), under_way=under_way, outcomes=outcomes)


async def effects_have_causes(books: Books, *, since: UUID) -> Outcome:
    """Find effects of events that no outbox knows: heard of, and never committed by whom they are said to come from."""
    found: list[Violation] = []
    for subscription in books.platform.subscriptions:
        if subscription.service in books.services:
            found += await _phantoms(books, subscription, since)
    return Outcome(name="messages.no_effect_without_cause", services=tuple(sorted(books.services)), violations=found)


async def _walk(books: Books, service: str, trails: Sequence[_Trail], since: UUID) -> list[datetime]:
    """Show an outbox to its subscribers page by page; return since when rows wait to be published, oldest first."""
    waiting: list[datetime] = []
    last = since
    while rows := await books.fetch(service, repository.OUTBOX, last, PAGE):
        last = rows[-1]["id"]
        waiting += [row["created_at"] for row in rows if row["status"] != "PROCESSED"]
        for trail in trails:
            await trail.see(books, rows)
    return sorted(waiting)


async def _phantoms(books: Books, subscription: Subscription, since: UUID) -> list[Violation]:
    """Look up an inbox, as far back as outboxes are kept, in the outboxes of its stream."""
    publishers = [service for service, stream in books.platform.streams.items() if stream == subscription.stream]
    if not publishers or not books.has(*publishers):
        return []
    found: list[Violation] = []
    last = max(since, lowest_id(datetime.now(UTC) - OUTBOX_KEPT))
    while rows := await books.fetch(subscription.service, repository.INBOX, subscription.consumer, last, PAGE):
        ids = [row["message_id"] for row in rows]
        last = ids[-1]
        known: set[UUID] = set()
        for service in publishers:
            known |= {row["id"] for row in await books.fetch(service, repository.OUTBOX_KNOWN, ids)}
        found += [
            Violation(key=f"{subscription.consumer}:{one}", detail=f"applied, but not in the outbox of {publishers[0]}")
            for one in ids
            if one not in known and born_at(one) is not None
        ]
    return found[:1000]


def lowest_id(moment: datetime) -> UUID:
    """Return the lowest UUIDv7 of a moment; of the beginning of time the nil id."""
    milliseconds = int(moment.timestamp() * 1000)
    return UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62)) if milliseconds > 0 else NIL


def _hole(service: str, trail: _Trail, gap: _Gap) -> Violation:
    consumer = trail.subscription.consumer
    return Violation(
        key=f"{consumer}:{gap.id}",
        detail=f"{gap.event_type} of {service} was published at sequence {gap.sequence} and never applied",
    )


def _stands(service: str, trail: _Trail, late: Sequence[datetime]) -> Violation:
    consumer = trail.subscription.consumer
    return Violation(
        key=f"{consumer}:{service}", detail=f"{len(late)} events of {service} not applied, the oldest of {late[0].isoformat()}"
    )


def _waits(service: str, at: datetime) -> Violation:
    return Violation(key=f"relay:{service}", detail=f"events wait to be published since {at.isoformat()}")
