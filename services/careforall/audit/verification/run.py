"""Runs a verification: invariants, messages, comparisons, chain; looks again before it complains; remembers how far it came."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from uuid import UUID

import msgspec

from careforall.audit.verification import balances, messages, repository, sales, shelves
from careforall.audit.verification.balances import Span
from careforall.audit.verification.books import Books, Platform, opened
from careforall.audit.verification.ledger import PREFIX
from careforall.audit.verification.report import Invariant, Outcome, Report, Violation, finding, hash_of
from careforall.kit.ids import NIL
from careforall.kit.metrics import INVARIANT_VIOLATIONS, LEDGER_IMBALANCE

LOOK_AGAIN = 5.0
OVERLAP = timedelta(minutes=2)
"""How far behind the watermark a run starts, for rows that were committed late: a few times longer than any transaction lives."""
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """How far a verification came without a violation."""

    at: datetime = _BEGINNING
    link: int = 0


START = Mark()


async def verify(
    platform: Platform, *, mark: Mark = START, settled: bool = False, slack: float = 300.0, look_again: float = LOOK_AGAIN
) -> tuple[Report, Mark]:
    """Verify the books of a platform.

    Args:
        platform: Where the books are, and who hears whom.
        mark: Where to go on; the start verifies everything.
        settled: Whether messages under way count as violations too.
        slack: Seconds a message may be under way before it counts as a violation.
        look_again: Seconds after which what looks wrong is looked at once more.
    """
    started = datetime.now(UTC)
    async with opened(platform) as books:
        look = _Look(books, mark, timedelta(seconds=slack), settled=settled)
        outcomes = await look.everything()
        if any(outcome.violations for outcome in outcomes):
            await asyncio.sleep(look_again)
            outcomes = await look.again(outcomes)
        report = await _report(look, outcomes, started, full=mark == START)
    _export(report)
    return report, Mark(at=look.cut_off, link=look.link) if report.ok else mark


class _Look:
    """One look at everything, and a second one at what seemed wrong."""

    def __init__(self, books: Books, mark: Mark, slack: timedelta, *, settled: bool) -> None:
        self.books = books
        self.cut_off = datetime.now(UTC)
        self.under_way = 0
        self.link = mark.link
        self.head = ""
        self._mark = mark
        self._slack = slack
        self._settled = settled
        self._since = max(mark.at - OVERLAP, _BEGINNING) if mark.at > _BEGINNING else _BEGINNING
        self._since_id: UUID = messages.lowest_id(self._since) if mark.at > _BEGINNING else NIL

    async def everything(self) -> list[Outcome]:
        """Run all checks for which there are books."""
        outcomes = await self._messages()
        for check in self._checks():
            outcomes.append(await check())
        return outcomes

    async def again(self, first: Sequence[Outcome]) -> list[Outcome]:
        """Run everything once more and keep what both looks found; what is wrong stays wrong."""
        second = {outcome.name: outcome for outcome in await self.everything()}
        return [outcome.still(second[outcome.name]) if outcome.violations else outcome for outcome in first]

    async def _messages(self) -> list[Outcome]:
        slack = timedelta(0) if self._settled else self._slack
        followed = await messages.follow(self.books, since=self._since_id, slack=slack)
        self.cut_off, self.under_way = followed.cut_off, followed.under_way
        return [*followed.outcomes, await messages.effects_have_causes(self.books, since=self._since_id)]

    def _checks(self) -> list[Callable[[], Awaitable[Outcome]]]:
        span = Span(since=self._since, since_id=self._since_id, cut_off=self.cut_off, after_link=self._mark.link)
        checks: list[Callable[[], Awaitable[Outcome]]] = [
            partial(broken, self.books, invariant, self._since)
            for invariant in repository.INVARIANTS
            if self.books.has(invariant.service) and not (invariant.whole and self._mark.at > _BEGINNING)
        ]
        comparisons = (*balances.COMPARISONS, *sales.COMPARISONS, *shelves.COMPARISONS)
        checks += [partial(compare, self.books, span) for needed, compare in comparisons if self.books.has(*needed)]
        return [*checks, partial(self._chain, span)] if self.books.has("audit") else checks

    async def _chain(self, span: Span) -> Outcome:
        outcome, self.link, self.head = await balances.chain_holds(self.books, span)
        return outcome


async def broken(books: Books, invariant: Invariant, since: datetime) -> Outcome:
    """Run one invariant."""
    rows = await books.fetch(invariant.service, invariant.sql, since)
    violations = [Violation(key=row["key"], detail=row["detail"]) for row in rows]
    return Outcome(name=invariant.name, services=(invariant.service,), violations=violations)


async def facts_of(books: Books) -> dict[str, str]:
    """Count what the books hold."""
    facts: dict[str, str] = {}
    for service in sorted(books.services):
        if sql := repository.FACTS.get(service):
            facts |= {row["name"]: row["value"] for row in await books.fetch(service, sql)}
        facts[f"{service}.dead_letters"] = str(await books.value(service, repository.OPEN_DEAD_LETTERS))
    return facts


async def _report(look: _Look, outcomes: Sequence[Outcome], started: datetime, *, full: bool) -> Report:
    facts = await facts_of(look.books)
    if look.head:
        facts["audit.head"] = look.head
    return Report(
        ok=not any(outcome.violations for outcome in outcomes),
        full=full,
        started_at=started,
        cut_off=look.cut_off,
        under_way=look.under_way,
        facts=facts,
        hash=hash_of(facts),
        findings=[finding(outcome) for outcome in outcomes],
    )


def _export(report: Report) -> None:
    for one in report.findings:
        INVARIANT_VIOLATIONS.labels(name=one.name).set(one.violations)
    LEDGER_IMBALANCE.set(sum(one.violations for one in report.findings if one.name.startswith(PREFIX)))
