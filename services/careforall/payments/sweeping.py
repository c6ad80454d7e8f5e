"""One slice of time of one run: the gateway's objects, its refunds and disputes, and ours, each into its bucket.

Our side is only read, and the gateway asked without a lock; what is news to us is applied by `asking`, by version, with its
finding in the same transaction. A dry run compares lists and applies nothing.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from functools import partial
from uuid import UUID

import msgspec

from careforall.kit.db import Connection, Database
from careforall.kit.ids import new_id
from careforall.payments import comparing, repository, repository_alarms, repository_ledger
from careforall.payments import repository_reconciliation as rows
from careforall.payments.asking import Asking, Lesson, Note
from careforall.payments.comparing import Action, Bucket, Finding, Run
from careforall.payments.domain import DisputeFact, Intent, RefundFact
from careforall.payments.gateways.base import Gateway, GatewayObject, GatewayPage, GatewayRefused
from careforall.payments.gateways.registry import Gateways
from careforall.payments.metrics import FINDINGS
from careforall.payments.recording import record_fee
from careforall.payments.records import Alarm

_PAGE = 200
NOTHING = Decimal(0)
ALARMS: Mapping[Bucket, str] = {
    "ours_only": "reconcile_ours_only",
    "theirs_only": "reconcile_theirs_only",
    "amount_differs": "reconcile_amount_differs",
}


class Exhausted(Exception):
    """A run has asked as often as one may."""


class Pace:
    """Keeps a run from crowding a gateway.

    Args:
        per_second: Calls a second.
        most: Calls a run.
    """

    def __init__(self, per_second: float, most: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls = 0
        self._pause = 1 / per_second
        self._most = most
        self._clock = clock
        self._free_at = 0.0

    async def step(self) -> None:
        """Wait until the next call may be made.

        Raises:
            Exhausted: There were enough.
        """
        if self.calls >= self._most:
            raise Exhausted(f"{self._most} calls were made; the next run goes on")
        self.calls += 1
        now = self._clock()
        wait = self._free_at - now
        self._free_at = max(now, self._free_at) + self._pause
        if wait > 0:
            await asyncio.sleep(wait)


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """An object of the gateway beside our intent."""

    theirs: GatewayObject
    ours: Intent | None
    returned: Decimal = NOTHING
    fee_booked: bool = False

    @property
    def bucket(self) -> Bucket | None:
        """Where the pair belongs."""
        return comparing.compare(self.theirs, self.ours, returned=self.returned)


class Sweep:
    """Compares for one run."""

    def __init__(self, database: Database, gateways: Gateways, asking: Asking, run: Run, pace: Pace) -> None:
        self._database = database
        self._gateways = gateways
        self._asking = asking
        self._run = run
        self._pace = pace

    async def slice(self, since: datetime, until: datetime) -> Mapping[str, tuple[int, Decimal]]:
        """Compare what was made in a time; return how much agreed, by currency.

        Raises:
            Exhausted: The run has used up its calls.
            GatewayRefused, GatewayUnknown: The gateway cannot be asked now.
        """
        seen: set[UUID] = set()
        matched: dict[str, tuple[int, Decimal]] = {}
        async for page in self._pages(lambda api, after: api.list_objects(since, until, after=after)):
            for pair in await self._paired(page.objects):
                seen.update([pair.ours.id] if pair.ours else [])
                await self._sort(pair, matched)
        async for page in self._pages(lambda api, after: api.list_changed(since, until, after=after)):
            await self._sort_changed(page.objects)
        async for paid in self._paid(since, until):
            if paid.id not in seen:
                await self._sort_ours(paid)
        return matched

    async def undecided(self) -> None:
        """Ask about disputes that are open here: they are decided long after they were made. A dry run leaves them out."""
        after: UUID | None = None
        while not self._run.dry_run:
            async with self._database.connection() as connection:
                page = await rows.disputed(connection, self._run.gateway, after, _PAGE)
            for ours in page:
                await self._ask(Pair(theirs=GatewayObject(id=ours.gateway_object), ours=ours), "theirs_only")
            if len(page) < _PAGE:
                return
            after = page[-1].id

    async def _pages(self, ask: Callable[[Gateway, str], Awaitable[GatewayPage]]) -> AsyncIterator[GatewayPage]:
        page = GatewayPage(objects=())
        while True:
            await self._pace.step()
            page = await self._gateways.call(self._run.gateway, "list", partial(_flipped, ask, page.next))
            yield page
            if not page.next:
                return

    async def _paired(self, objects: Sequence[GatewayObject]) -> list[Pair]:
        """Find the intent of each object: by what we noted at the gateway, else by the name of the object."""
        async with self._database.snapshot() as connection:
            owners = await repository.intents_of_objects(connection, [one.id for one in objects])
            wanted = [one.intent_id or owners.get(one.id) for one in objects]
            intents = await rows.intents_by_id(connection, [one for one in wanted if one])
            returned = await rows.returned(connection, [one.id for one in intents.values() if not one.captured_amount])
            booked = await repository_ledger.with_fees(connection, list(intents))
        found = []
        for theirs, named in zip(objects, wanted, strict=True):
            ours = (intents.get(named) if named else None) or intents.get(owners.get(theirs.id) or named or new_id())
            back, fee = (returned.get(ours.id, NOTHING), ours.id in booked) if ours else (NOTHING, False)
            found.append(Pair(theirs=theirs, ours=ours, returned=back, fee_booked=fee))
        return found

    async def _sort(self, pair: Pair, matched: dict[str, tuple[int, Decimal]]) -> None:
        bucket = pair.bucket
        if bucket == "matched" and pair.ours is not None:
            count, amount = matched.get(pair.ours.currency, (0, NOTHING))
            matched[pair.ours.currency] = (count + 1, amount + pair.ours.amount)
            await self._settle(pair)
            await self._book_fee(pair.ours, pair)
        elif bucket is not None and bucket != "matched":
            await self._differs(pair, bucket)

    async def _sort_changed(self, objects: Sequence[GatewayObject]) -> None:
        """Refunds and disputes made at the gateway: what we know as it stands agrees, the rest is asked about."""
        facts = [fact for one in objects for fact in one.facts]
        refunds = [fact.gateway_refund_id for fact in facts if isinstance(fact, RefundFact)]
        disputes = [fact.gateway_dispute_id for fact in facts if isinstance(fact, DisputeFact)]
        async with self._database.snapshot() as connection:
            known = {**await rows.refund_states(connection, refunds), **await rows.dispute_states(connection, disputes)}
        news = [one for one in objects if not _is_known(one, known)]
        for pair in await self._paired(news):
            if pair.ours is None:
                await self._alarm(pair, "theirs_only", "money of a payment that is unknown here went back")
            elif self._run.dry_run:
                await self._note(pair, "theirs_only", "none")
            else:
                await self._ask(pair, "theirs_only")

    async def _sort_ours(self, ours: Intent) -> None:
        """A payment of ours that was not listed: look for its very object before saying that the gateway does not know it."""
        pair = Pair(theirs=GatewayObject(id=ours.gateway_object), ours=ours)
        if not self._run.dry_run:
            await self._ask(pair, "ours_only")
            return
        await self._pace.step()
        try:
            shown = await self._gateways.call(self._run.gateway, "show", lambda api: api.show(ours.gateway_object))
        except GatewayRefused:
            await self._note(pair, "ours_only", "none")
            return
        again = msgspec.structs.replace(pair, theirs=shown)
        if again.bucket not in {None, "matched"}:
            await self._note(again, again.bucket or "ours_only", "none")

    async def _differs(self, pair: Pair, bucket: Bucket) -> None:
        if self._run.dry_run:
            await self._note(pair, bucket, "none")
        elif pair.ours is None:
            await self._alarm(pair, bucket, "nobody here knows this object")
        else:
            await self._ask(pair, bucket)

    async def _ask(self, pair: Pair, bucket: Bucket) -> None:
        """Fetch the object and apply what it says; what still does not agree is for a person."""
        assert pair.ours is not None
        await self._pace.step()
        async with self._database.connection() as connection:
            named = name_of(pair, await rows.objects_of(connection, pair.ours.id, self._run.gateway))
        if not named:
            await self._alarm(pair, bucket, "it names no object that can be asked about")
            return
        try:
            await self._asking.learn(pair.ours.id, self._run.gateway, named, cause="reconciled", note=self._noting(pair, bucket))
        except GatewayRefused as error:
            await self._alarm(pair, bucket, f"the gateway does not show it: {error}")

    def _noting(self, pair: Pair, bucket: Bucket) -> Note:
        async def note(connection: Connection, lesson: Lesson) -> None:
            returned = (await rows.returned(connection, [lesson.after.id])).get(lesson.after.id, NOTHING)
            shown = msgspec.structs.replace(lesson.shown, id=lesson.shown.id or pair.theirs.id)
            after = Pair(theirs=shown, ours=lesson.after, returned=returned)
            still = after.bucket
            if still not in {None, "matched"}:
                await self._write_alarm(connection, after, still or bucket, "asking did not settle it")
            elif lesson.changed or (not lesson.after.captured_amount and returned > pair.returned):
                now = msgspec.structs.replace(after, ours=lesson.before)
                await rows.insert_finding(connection, self._finding(now, bucket, "applied", f"now {_ours(lesson.after)}"))
                FINDINGS.labels(gateway=self._run.gateway, bucket=bucket).inc()

        return note

    async def _note(self, pair: Pair, bucket: Bucket, action: Action) -> None:
        async with self._database.connection() as connection:
            await rows.insert_finding(connection, self._finding(pair, bucket, action, ""))

    async def _alarm(self, pair: Pair, bucket: Bucket, detail: str) -> None:
        if self._run.dry_run:
            await self._note(pair, bucket, "none")
            return
        await self._database.run(lambda connection: self._write_alarm(connection, pair, bucket, detail))

    async def _write_alarm(self, connection: Connection, pair: Pair, bucket: Bucket, detail: str) -> None:
        """Store a finding with the alarm that has a person look at it; one that was looked at stays settled."""
        kind, key = ALARMS[bucket], pair.theirs.id
        payment = pair.ours.id if pair.ours else None
        text = f"ours: {_ours(pair.ours)}; theirs: {_theirs(pair.theirs)}; {detail}"
        alarm = Alarm(kind=kind, gateway=self._run.gateway, subject_key=key, payment_id=payment, detail=text[:500])
        await repository.insert_alarms(connection, [alarm])
        settled = await repository_alarms.is_settled(connection, kind, self._run.gateway, key)
        await rows.insert_finding(connection, self._finding(pair, bucket, "settled" if settled else "alarmed", detail))
        FINDINGS.labels(gateway=self._run.gateway, bucket=bucket).inc()

    async def _book_fee(self, ours: Intent, pair: Pair) -> None:
        """What a gateway keeps is told by its list, where its webhooks do not tell it."""
        state = comparing.state_of(pair.theirs)
        if self._run.dry_run or pair.fee_booked or state is None or state.fee is None:
            return

        async def work(connection: Connection) -> None:
            for locked in (await repository.lock_intents(connection, [ours.id])).values():
                await record_fee(connection, locked, state, via=self._run.gateway)

        await self._database.run(work)

    async def _settle(self, pair: Pair) -> None:
        """What agrees by now needs nobody any more."""
        if not self._run.dry_run:
            async with self._database.connection() as connection:
                await repository_alarms.settle_agreed(connection, list(ALARMS.values()), self._run.gateway, pair.theirs.id)

    def _finding(self, pair: Pair, bucket: Bucket, action: Action, detail: str) -> Finding:
        state = comparing.state_of(pair.theirs)
        currency = (state.currency if state else None) or (pair.ours.currency if pair.ours else "")
        return Finding(
            id=new_id(),
            run_id=self._run.id,
            gateway=self._run.gateway,
            bucket=bucket,
            gateway_object=pair.theirs.id,
            payment_id=pair.ours.id if pair.ours else pair.theirs.intent_id,
            currency=currency,
            ours=_ours(pair.ours),
            theirs=_theirs(pair.theirs),
            action=action,
            detail=detail[:300],
        )

    async def _paid(self, since: datetime, until: datetime) -> AsyncIterator[Intent]:
        after: tuple[datetime, UUID] | None = None
        while True:
            async with self._database.connection() as connection:
                page = await rows.paid_between(connection, self._run.gateway, since, until, after, _PAGE)
            for one in page:
                yield one.intent
            if len(page) < _PAGE:
                return
            after = (page[-1].created_at, page[-1].intent.id)


def _flipped(ask: Callable[[Gateway, str], Awaitable[GatewayPage]], after: str, api: Gateway) -> Awaitable[GatewayPage]:
    return ask(api, after)


def _is_known(found: GatewayObject, known: Mapping[str, str]) -> bool:
    fact = found.facts[0] if found.facts else None
    if isinstance(fact, RefundFact):
        return known.get(fact.gateway_refund_id) == fact.status
    return isinstance(fact, DisputeFact) and known.get(fact.gateway_dispute_id) == fact.status


def name_of(pair: Pair, made: Sequence[str]) -> str:
    """Return what to ask for: lists of some companies name a transaction, and only their facts or our attempts the object.

    Empty where neither does: what is shown for a name that is no object's would be taken for its end.
    """
    state = comparing.state_of(pair.theirs)
    if state is not None and state.gateway_object:
        return state.gateway_object
    if pair.theirs.id in made or (state is None and not made):
        return pair.theirs.id
    return made[-1] if made else ""


def _ours(intent: Intent | None) -> str:
    return comparing.shown(intent.status, intent.amount, intent.currency) if intent else "unknown"


def _theirs(found: GatewayObject) -> str:
    state = comparing.state_of(found)
    if state is not None:
        return comparing.shown(state.target, state.amount, state.currency)
    fact = found.facts[0] if found.facts else None
    amount, currency = getattr(fact, "amount", None), getattr(fact, "currency", None)
    return comparing.shown(type(fact).__name__.removesuffix("Fact").lower() if fact else "nothing paid", amount, currency)
