"""Comparisons between databases: the same gift as payments, donations, totals, notifications and audit know it.

Rows are read where the fact is made first and where it is followed later, and only up to the cut-off that every follower has
reached, so what is missing is missing.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import msgspec

from careforall.audit import domain
from careforall.audit.domain import AuditEvent, Link
from careforall.audit.verification import repository
from careforall.audit.verification.books import Books
from careforall.audit.verification.report import Outcome, Violation
from careforall.kit.ids import NIL

PAGE = 5000
LINKS = 50


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which rows to compare: changed since, and before the cut-off; events by id; links after a number."""

    since: datetime
    since_id: UUID
    cut_off: datetime
    after_link: int = 0


async def captured_gifts_are_completed(books: Books, span: Span) -> Outcome:
    """Every captured intent of a donation has its completed donation, of equal amounts."""
    found: list[Violation] = []
    async for intents in pages(books, "payments", repository.CAPTURED, span):
        rows = await books.fetch("donations", repository.DONATIONS_OF_INTENTS, [intent["id"] for intent in intents])
        donations = {row["intent_id"]: row for row in rows}
        found += [
            Violation(key=str(intent["id"]), detail=wrong)
            for intent in intents
            if (wrong := _unlike_gift(intent, donations.get(intent["id"]), span))
        ]
    return Outcome(name="money.captured_is_completed", services=("payments", "donations"), violations=found)


async def completed_gifts_are_captured(books: Books, span: Span) -> Outcome:
    """Every completed donation has its captured intent, of equal amounts."""
    found: list[Violation] = []
    async for donations in pages(books, "donations", repository.SETTLED_DONATIONS, span):
        rows = await books.fetch("payments", repository.INTENTS, [donation["intent_id"] for donation in donations])
        intents = {row["id"]: row for row in rows}
        found += [
            Violation(key=str(donation["id"]), detail=wrong)
            for donation in donations
            if (wrong := _unlike_intent(donation, intents.get(donation["intent_id"]), span))
        ]
    return Outcome(name="money.completed_is_captured", services=("donations", "payments"), violations=found)


async def completed_gifts_are_booked(books: Books, span: Span) -> Outcome:
    """Every completed donation is booked for its campaign, with equal amounts: gift by gift, so campaign by campaign."""
    found: list[Violation] = []
    async for donations in pages(books, "donations", repository.SETTLED_DONATIONS, span):
        rows = await books.fetch("payments", repository.BOOKED_OF, [donation["intent_id"] for donation in donations])
        booked = {row["payment_id"]: row for row in rows}
        found += [
            Violation(key=str(donation["id"]), detail=wrong)
            for donation in donations
            if (wrong := _unlike_ledger(donation, booked.get(donation["intent_id"]), span))
        ]
    return Outcome(name="ledger.every_gift_is_booked", services=("donations", "payments"), violations=found)


async def completed_gifts_are_counted(books: Books, span: Span) -> Outcome:
    """Every completed donation stands in the base of the totals as it is."""
    found: list[Violation] = []
    async for donations in pages(books, "donations", repository.SETTLED_DONATIONS, span):
        rows = await books.fetch("totals", repository.BASE_OF, [donation["id"] for donation in donations])
        base = {row["donation_id"]: row for row in rows}
        found += [
            Violation(key=str(donation["id"]), detail=wrong)
            for donation in donations
            if (wrong := _unlike_base(donation, base.get(donation["id"])))
        ]
    return Outcome(name="totals.base_has_every_gift", services=("donations", "totals"), violations=found)


async def counted_gifts_are_completed(books: Books, span: Span) -> Outcome:
    """Nothing is counted that donations does not know as completed."""
    found: list[Violation] = []
    async for base in pages(books, "totals", repository.BASE, span):
        rows = await books.fetch("donations", repository.COMPLETED_OF, [row["id"] for row in base])
        known = {row["id"] for row in rows}
        found += [Violation(key=str(row["id"]), detail="counted, not completed") for row in base if row["id"] not in known]
    return Outcome(name="totals.base_has_nothing_else", services=("totals", "donations"), violations=found)


async def completed_gifts_have_receipts(books: Books, span: Span) -> Outcome:
    """Every completed donation has its receipt, unless the donor was erased."""
    found: list[Violation] = []
    async for donations in pages(books, "donations", repository.SETTLED_DONATIONS, span):
        ids = [donation["id"] for donation in donations]
        told = {row["subject_id"] for row in await books.fetch("notifications", repository.RECEIPTS_OF, ids)}
        silent = [donation for donation in donations if donation["id"] not in told]
        keys = sorted({donation["donor_key"] for donation in silent})
        erased = {row["key"] for row in await books.fetch("notifications", repository.ERASED_OF, keys)}
        found += [
            Violation(key=str(donation["id"]), detail="no receipt was made")
            for donation in silent
            if donation["donor_key"] not in erased
        ]
    return Outcome(name="notifications.receipt_for_each_gift", services=("donations", "notifications"), violations=found)


async def published_events_are_logged(books: Books, span: Span) -> Outcome:
    """Every published event that audit has been given is in the log."""
    found: list[Violation] = []
    for service, stream in books.publishers():
        consumers = [one for one in books.subscribers(stream) if one.service == "audit"]
        last = span.since_id
        while consumers and (rows := await books.fetch(service, repository.OUTBOX, last, PAGE)):
            last = rows[-1]["id"]
            ids = [row["id"] for row in rows if row["status"] == "PROCESSED" and row["created_at"] < span.cut_off]
            logged = {row["event_id"] for row in await books.fetch("audit", repository.LOGGED, ids)}
            applied = await books.fetch("audit", repository.APPLIED, consumers[0].consumer, ids)
            missing = {row["message_id"] for row in applied} - logged
            found += [Violation(key=str(one), detail=f"event of {service} is not in the log") for one in sorted(missing)]
    return Outcome(name="audit.every_event_is_logged", services=("audit",), violations=found)


async def chain_holds(books: Books, span: Span) -> tuple[Outcome, int, str]:
    """Recompute the audit chain after a link; return the outcome with number and hash of the last link.

    It reaches at least as far as any verification has seen it.
    """
    found: list[Violation] = []
    seen = cast("int", await books.value("audit", repository.REACHED))
    previous = await _link(books, span.after_link)
    while links := [
        Link(**row) for row in await books.fetch("audit", repository.LINKS, previous.number if previous else 0, LINKS)
    ]:
        rows = await books.fetch("audit", repository.BATCHES, [link.batch_id for link in links])
        batches: dict[UUID, list[AuditEvent]] = {link.batch_id: [] for link in links}
        for row in rows:
            batches[row["batch_id"]].append(AuditEvent(**row))
        for link in links:
            faults = domain.faults(previous, link, batches[link.batch_id])
            found += [Violation(key=f"{fault.link}:{fault.kind}", detail=fault.detail) for fault in faults]
            previous = link
    last = previous.number if previous else 0
    if last < seen:
        found.append(Violation(key=f"{seen}:missing_link", detail=f"the chain ends at link {last}; it had link {seen} before"))
    outcome = Outcome(name="audit.chain_holds", services=("audit",), violations=found)
    return outcome, last, previous.hash.hex() if previous else ""


Comparison = Callable[[Books, Span], Awaitable[Outcome]]
COMPARISONS: tuple[tuple[frozenset[str], Comparison], ...] = (
    (frozenset({"payments", "donations"}), captured_gifts_are_completed),
    (frozenset({"payments", "donations"}), completed_gifts_are_captured),
    (frozenset({"payments", "donations"}), completed_gifts_are_booked),
    (frozenset({"donations", "totals"}), completed_gifts_are_counted),
    (frozenset({"donations", "totals"}), counted_gifts_are_completed),
    (frozenset({"donations", "notifications"}), completed_gifts_have_receipts),
    (frozenset({"audit"}), published_events_are_logged),
)
"""Each comparison with the services whose books it needs."""


async def pages(books: Books, service: str, sql: str, span: Span) -> AsyncIterator[Sequence[Any]]:
    """Yield the rows of a statement of a span, page by page."""
    last = NIL
    while rows := await books.fetch(service, sql, last, span.since, span.cut_off, PAGE):
        yield rows
        last = rows[-1]["id"]


async def _link(books: Books, number: int) -> Link | None:
    rows = await books.fetch("audit", repository.LINK, number) if number else []
    return Link(**rows[0]) if rows else None


def _unlike_gift(intent: Any, donation: Any, span: Span) -> str | None:
    """Return how a captured intent and its donation differ."""
    if donation is None:
        return "captured for a donation that does not exist"
    if donation["status"] not in {"COMPLETED", "REFUNDED"}:
        return f"captured, but donation {donation['id']} is {donation['status']}"
    if donation["id"] != intent["subject_id"]:
        return f"captured for {intent['subject_id']}, used by {donation['id']}"
    if intent["campaign_id"] not in {None, donation["campaign_id"]}:
        return f"captured for campaign {intent['campaign_id']}, given to {donation['campaign_id']}"
    return _unlike_money(intent, donation, exact=donation["updated_at"] < span.cut_off)


def _unlike_intent(donation: Any, intent: Any, span: Span) -> str | None:
    """Return how a completed donation and its intent differ."""
    if intent is None:
        return "completed without an intent"
    if not intent["captured_amount"]:
        return f"completed, but intent {intent['id']} is not captured"
    return _unlike_money(donation, intent, exact=intent["updated_at"] < span.cut_off)


def _unlike_ledger(donation: Any, booked: Any, span: Span) -> str | None:
    """Return how a completed donation and what is booked of it differ."""
    if booked is None:
        return "completed, but not booked"
    if booked["campaign_id"] not in {None, donation["campaign_id"]}:
        return f"booked for campaign {booked['campaign_id']}"
    return _unlike_money(donation, booked, exact=booked["updated_at"] < span.cut_off)


def _unlike_base(donation: Any, base: Any) -> str | None:
    """Return how a donation and its counted row differ."""
    if base is None:
        return "completed, but not counted"
    if base["campaign_id"] != donation["campaign_id"]:
        return f"counted for campaign {base['campaign_id']}"
    if base["version"] < donation["version"]:
        return f"version {donation['version']}, counted version {base['version']}"
    return _unlike_money(donation, base, exact=base["version"] == donation["version"])


def _unlike_money(first: Any, later: Any, *, exact: bool) -> str | None:
    """Return how amounts differ; what was read later may have gone on, unless it is `exact`: of one version, or unchanged since.

    What is refunded only grows; what is disputed may fall again.
    """
    if (first["amount"], first["currency"]) != (later["amount"], later["currency"]):
        return f"{first['amount']} {first['currency']} here, {later['amount']} {later['currency']} there"
    behind = later["refunded_amount"] < first["refunded_amount"]
    if behind or (exact and later["refunded_amount"] != first["refunded_amount"]):
        return f"refunded {first['refunded_amount']} here, {later['refunded_amount']} there"
    if exact and later["disputed_amount"] != first["disputed_amount"]:
        return f"disputed {first['disputed_amount']} here, {later['disputed_amount']} there"
    return None
