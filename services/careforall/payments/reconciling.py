"""The reconciler: runs are ordered as rows, and one process at a time works on them, slice after slice.

A run goes on where it had come to, whoever began it; an hourly one begins where the last one had come to, so that an outage is
covered by the first run after it. Nothing here holds a transaction while a gateway is asked.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog

from careforall.kit import crash, json
from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput
from careforall.kit.idempotency import Answer, Call, once
from careforall.kit.ids import new_id
from careforall.payments import repository_reconciliation as rows
from careforall.payments.asking import Asking
from careforall.payments.comparing import Finding, Run, RunKind
from careforall.payments.errors import GatewayNotSetUp, ReconcilerOff, RunNotFound
from careforall.payments.gateways.base import GatewayNotAsked, GatewayRefused, GatewayUnknown
from careforall.payments.gateways.registry import Gateways
from careforall.payments.metrics import DIVERGENCE, RECONCILED_AGE
from careforall.payments.schemas_reconciliation import RunOrder, RunsOut, run_out
from careforall.payments.sweeping import Exhausted, Pace, Sweep

log = structlog.get_logger(__name__)

ACCEPTED = 202
_SLICE = timedelta(hours=1)
_SKEW = timedelta(minutes=1)
"""How far a gateway's clock may be ahead of ours without hiding its newest objects from an ordered run."""
_OVERLAP = 600.0
_HOUR, _DAY = 3600.0, 86_400.0
_LONGEST_DAYS = 31
_PAGE = 500


class Pacing(msgspec.Struct, frozen=True, kw_only=True):
    """How often and how gently gateways are compared with.

    Args:
        on: The kill switch: off starts nothing and ends what runs.
        every: Seconds between runs that go on where the last one came to.
        days: How far back a run looks at most by itself.
        per_second: Calls to a gateway a second.
        most: Calls a run.
    """

    on: bool
    every: float
    days: float
    per_second: float
    most: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run with what it found."""

    run: Run
    counts: Sequence[Mapping[str, Any]]


class SwitchedOff(Exception):
    """Somebody stopped the reconciler."""


class Reconciling:
    """Orders runs, works on them and tells of them."""

    def __init__(self, database: Database, gateways: Gateways, asking: Asking, pacing: Pacing) -> None:
        self._database = database
        self._gateways = gateways
        self._asking = asking
        self._pacing = pacing

    async def order(self, wanted: RunOrder, *, call: Call, by: str) -> Answer:
        """Order a run of each gateway that can be asked, or of one; workers begin it within seconds.

        Raises:
            GatewayNotSetUp: There is no such gateway, or it cannot be asked.
            ReconcilerOff: It is switched off.
            InvalidInput: The times are no time, or more than 31 days.
        """
        if not await self.is_on():
            raise ReconcilerOff

        async def work(connection: Connection) -> tuple[int, bytes]:
            made = await self._insert(connection, wanted, by)
            return ACCEPTED, json.encode(RunsOut(items=[run_out(run, []) for run in made]))

        return await once(self._database, call, work)

    async def order_now(self, wanted: RunOrder, *, by: str) -> list[Run]:
        """Order runs and return them, for whoever goes on to work on them; raises what `order` does."""
        if not await self.is_on():
            raise ReconcilerOff
        return await self._database.run(lambda connection: self._insert(connection, wanted, by))

    async def reports(self, gateway: str | None, before: UUID | None, limit: int) -> list[Report]:
        """Return runs with their counts, newest first."""
        async with self._database.snapshot() as connection:
            return await _told(connection, await rows.runs_before(connection, gateway, before, limit))

    async def report(self, identifier: UUID) -> Report:
        """Return a run with its counts.

        Raises:
            RunNotFound: There is none.
        """
        async with self._database.snapshot() as connection:
            found = await rows.run_by_id(connection, identifier)
            if found is None:
                raise RunNotFound
            return (await _told(connection, [found]))[0]

    async def findings(self, run_id: UUID, after: UUID | None, limit: int) -> list[Finding]:
        """Return what a run found, in the order it was found.

        Raises:
            RunNotFound: There is no such run.
        """
        async with self._database.snapshot() as connection:
            if await rows.run_by_id(connection, run_id) is None:
                raise RunNotFound
            return await rows.findings_after(connection, run_id, after, limit)

    async def all_findings(self, run_id: UUID) -> list[Finding]:
        """Return everything a run found."""
        found: list[Finding] = []
        while page := await self.findings(run_id, found[-1].id if found else None, _PAGE):
            found += page
        return found

    async def switch(self, *, on: bool, by: str) -> None:
        """Stop whatever runs and let nothing begin, or let it go on."""
        await self._database.run(lambda connection: rows.set_stopped(connection, stopped=not on, by=by))

    async def is_on(self) -> bool:
        """Whether runs may begin and go on: by the setting, and by the switch staff can turn."""
        if not self._pacing.on:
            return False
        async with self._database.connection() as connection:
            return not await rows.is_stopped(connection)

    async def work(self) -> int:
        """Order what is due and work on what is ordered; return how many runs were ended. One process at a time does."""
        if not await self.is_on():
            return 0
        session = await self._database.dedicated()
        try:
            if not await rows.becomes_runner(session):
                return 0
            await self._database.run(self._schedule)
            return await self._work_off()
        finally:
            session.terminate()

    async def measure(self) -> None:
        """Show how we stand with each gateway."""
        async with self._database.connection() as connection:
            for standing in await rows.standings(connection):
                DIVERGENCE.labels(gateway=standing.gateway).set(standing.left)
                RECONCILED_AGE.labels(gateway=standing.gateway).set(standing.age_seconds)

    async def _work_off(self) -> int:
        ended = 0
        while (run := await self._database.run(rows.open_run)) is not None:
            await self._execute(run)
            ended += 1
        return ended

    async def _execute(self, run: Run) -> None:
        """Work on a run until it is finished, or there is a reason to stop."""
        pace = Pace(self._pacing.per_second, self._pacing.most)
        pace.calls = run.calls
        try:
            await self._slices(run, pace)
        except (Exhausted, SwitchedOff, GatewayRefused, GatewayNotAsked, GatewayUnknown) as error:
            log.warning("reconciliation stopped", run_id=str(run.id), gateway=run.gateway, reason=str(error))
            await self._end(run, "STOPPED", str(error))
        else:
            await self._end(run, "FINISHED", "")

    async def _slices(self, run: Run, pace: Pace) -> None:
        sweep = Sweep(self._database, self._gateways, self._asking, run, pace)
        at = run.reached
        while at < run.until:
            if not await self.is_on():
                raise SwitchedOff("switched off")
            end = min(at + _SLICE, run.until)
            matched = await sweep.slice(at, end)
            await self._reach(run, end, pace.calls, matched)
            at = end
        await sweep.undecided()

    async def _reach(self, run: Run, end: datetime, calls: int, matched: Mapping[str, Any]) -> None:
        await self._database.run(lambda connection: rows.reach(connection, run.id, end, calls, matched))
        crash.point("reconcile.after_slice")

    async def _end(self, run: Run, status: str, reason: str) -> None:
        await self._database.run(lambda connection: rows.end_run(connection, run.id, status, reason))

    async def _schedule(self, connection: Connection) -> None:
        names = self._gateways.askable
        longest = self._pacing.days * _DAY
        hourly = {"kind": "HOURLY", "every": self._pacing.every, "back": _DAY, "overlap": _OVERLAP, "longest": longest}
        daily = {"kind": "DAILY", "every": _DAY, "back": 2 * _DAY, "overlap": 0.0, "longest": longest}
        for plan in (hourly, daily):
            await rows.schedule(connection, [new_id() for _ in names], names, plan)

    async def _insert(self, connection: Connection, wanted: RunOrder, by: str) -> list[Run]:
        return await rows.insert_runs(connection, self._ordered(wanted, await rows.now(connection), by))

    def _ordered(self, wanted: RunOrder, now: datetime, by: str) -> list[Run]:
        until = min(wanted.until or now + _SKEW, now + _SKEW)
        since = wanted.since or until - timedelta(seconds=_DAY)
        if not since < until or until - since > timedelta(days=_LONGEST_DAYS):
            raise InvalidInput.field("/since", "invalid_value", f"since lies before until, by {_LONGEST_DAYS} days at most")
        if wanted.gateway is not None and wanted.gateway not in self._gateways.askable:
            raise GatewayNotSetUp
        kind: RunKind = "ORDERED"
        return [
            Run(
                id=new_id(),
                gateway=name,
                kind=kind,
                since=since,
                until=until,
                reached=since,
                dry_run=wanted.dry_run,
                requested_by=by,
            )
            for name in ([wanted.gateway] if wanted.gateway else self._gateways.askable)
        ]


async def _told(connection: Connection, runs: Sequence[Run]) -> list[Report]:
    counts = [dict(row) for row in await rows.counts_of(connection, [run.id for run in runs])]
    return [Report(run=run, counts=[one for one in counts if one["run_id"] == run.id]) for run in runs]
