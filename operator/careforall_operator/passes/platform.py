"""One pass over one Platform, from reading to status."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import structlog
from msgspec.structs import replace

from careforall_operator import VERSION, metrics
from careforall_operator.conditions import kept
from careforall_operator.k8s import FORBIDDEN, INVALID, PLATFORM, HTTPStatusError, Kube, status_code
from careforall_operator.models import PlatformSpec
from careforall_operator.passes import database, reading, services, switchovers, timelines
from careforall_operator.passes.database import DatabaseSeen, DatabaseWatch
from careforall_operator.passes.latency import Latency
from careforall_operator.passes.switchovers import Asking, Switchover
from careforall_operator.reconcile.answers import Findings, answers, phase
from careforall_operator.reconcile.plan import Action, Apply, Owner
from careforall_operator.reconcile.switchovers import Situation
from careforall_operator.reconcile.timelines import awaited, plan_left
from careforall_operator.settings import Settings
from careforall_operator.status import Member, PlatformStatus

log = structlog.get_logger(__name__)

VOLATILE_EVERY = timedelta(seconds=10)


class PlatformPass:
    """Keeps one Platform. Its memory is the last status, which the API has as well, but for what changes each second."""

    def __init__(self, kube: Kube, settings: Settings, wake: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self.watch = DatabaseWatch(kube, settings, wake)
        self._asking = Asking(wake)
        self._latency = Latency()
        self._memory: tuple[str, PlatformStatus] | None = None
        self._written: tuple[PlatformStatus, datetime] | None = None

    async def close(self) -> None:
        """Watch and ask no more."""
        await self._asking.close()
        await self.watch.close()

    async def run(self, body: dict[str, Any]) -> None:
        """Look, decide, do, tell. Whatever fails is told where it can be, and raised."""
        now = datetime.now(UTC)
        before = self._before(body)
        try:
            spec = reading.read(PlatformSpec, body["spec"])
            await self._pass(body, spec, before, now)
        except msgspec.ValidationError as error:
            await self._stalled(body, before, ("InvalidSpec", str(error)), now)
        except Exception as error:
            if status_code(error) == FORBIDDEN:
                await self._stalled(body, before, ("Forbidden", str(error)), now)
            raise

    def _before(self, body: dict[str, Any]) -> PlatformStatus:
        uid = body["metadata"]["uid"]
        if self._memory is None or self._memory[0] != uid:
            status = reading.read(PlatformStatus, body.get("status"))
            self._memory = (uid, status)
            self._written = (status, datetime.min.replace(tzinfo=UTC))
        return self._memory[1]

    async def _pass(self, body: dict[str, Any], spec: PlatformSpec, before: PlatformStatus, now: datetime) -> None:
        name = body["metadata"]["name"]
        owner = Owner(kind="Platform", name=name, uid=body["metadata"]["uid"])
        seen = await self.watch.look(spec.database, name, now) if spec.database else None
        open_switchovers = [one for one in await switchovers.unfinished(self._kube) if one.spec.platform_ref.name == name]
        world = await services.look(self._kube, spec, name, self._monitors(), self._latency)
        status, actions, unreadable = self._database(spec, seen, before, world, owner, open_switchovers, now)
        status = await self._left(status, seen, now)
        decided = services.decide(spec, world, status, owner, degraded=status.degraded.active, now=now)
        if spec.database is not None and not spec.paused:
            await self.watch.tell(spec.database, decided.status, now)
        refused = await self._do([*actions, *decided.actions], body)
        found = Findings(
            spec=spec,
            services=decided.status.services,
            views=decided.status.views,
            database=decided.status.database,
            degraded=decided.status.degraded,
            seen=seen.cluster if seen else None,
            beat=seen.beat if seen else None,
            stalled=decided.stalled or unreadable or refused,
        )
        await self._tell(body, decided.status, found, now)
        await self._switch(spec, open_switchovers, decided.status, seen)

    def _database(
        self,
        spec: PlatformSpec,
        seen: DatabaseSeen | None,
        before: PlatformStatus,
        world: services.World,
        owner: Owner,
        open_switchovers: list[Switchover],
        now: datetime,
    ) -> tuple[PlatformStatus, list[Action], tuple[str, str] | None]:
        if spec.database is None or seen is None:
            return replace(before, database=None, degraded=database.without_database(spec, before.degraded, now)), [], None
        switching = any(one.status.phase == "Running" for one in open_switchovers)
        asked = database.asked_of(spec.database, owner, world.template, spec, switching=switching)
        plan = database.decide(spec, seen, before, world.jobs, asked, now)
        return replace(before, database=plan.status, degraded=plan.degraded), plan.actions, plan.stalled

    async def _left(self, status: PlatformStatus, seen: DatabaseSeen | None, now: datetime) -> PlatformStatus:
        """Ask services which timeline they are on, as long as one may be on an old one."""
        if status.database is None or seen is None or not seen.beat.cluster or awaited(status.database) is None:
            return status
        pods = await timelines.look(self._kube, seen.beat.cluster)
        return replace(status, database=plan_left(status.database, pods, now))

    def _monitors(self) -> list[str]:
        return [url.rstrip("/") for url in self._settings.nats_monitor_urls.split(",") if url]

    async def _do(self, actions: list[Action], body: dict[str, Any]) -> tuple[str, str] | None:
        """Do all; tell the first object that the API server calls invalid: it must not keep a failover from being followed.

        Only what is applied may be passed over, for the next pass plans it again; what is created counts as done once it is told.
        """
        refused: tuple[str, str] | None = None
        for action in actions:
            try:
                await self._kube.carry_out([action], body)
            except HTTPStatusError as error:
                if not isinstance(action, Apply) or status_code(error) != INVALID:
                    raise
                refused = refused or ("InvalidSpec", str(error))
                continue
            metrics.WRITES.labels(body["metadata"]["name"], type(action).__name__).inc()
            log.info("done", platform=body["metadata"]["name"], action=type(action).__name__, what=_words(action))
        return refused

    async def _tell(self, body: dict[str, Any], status: PlatformStatus, found: Findings, now: datetime) -> None:
        generation = body["metadata"].get("generation", 0)
        told = kept(status.conditions, answers(found, generation=generation, now=now))
        status = replace(status, conditions=told, observed_generation=generation, operator_version=VERSION)
        status = replace(status, phase=phase(status))
        await self._write(body, status, now)
        tell_metrics(body["metadata"]["name"], status)

    async def _write(self, body: dict[str, Any], status: PlatformStatus, now: datetime) -> None:
        """Write the status where it tells something new; what changes each second is news every ten."""
        self._memory = (body["metadata"]["uid"], status)
        assert self._written is not None
        written, at = self._written
        if written == status or (lasting(written) == lasting(status) and now - at < VOLATILE_EVERY):
            return
        await self._kube.write_status(PLATFORM, body["metadata"]["name"], status)
        self._written = (status, now)

    async def _stalled(self, body: dict[str, Any], before: PlatformStatus, why: tuple[str, str], now: datetime) -> None:
        found = Findings(
            spec=PlatformSpec(),
            services=before.services,
            views=[],
            database=before.database,
            degraded=before.degraded,
            seen=None,
            beat=None,
            stalled=why,
        )
        await self._tell(body, before, found, now)

    async def _switch(
        self, spec: PlatformSpec, found: list[Switchover], status: PlatformStatus, seen: DatabaseSeen | None
    ) -> None:
        for one in found:
            others = sum(other is not one and other.status.phase == "Running" for other in found)
            situation = Situation(
                database=spec.database,
                status=status.database,
                degraded=status.degraded,
                seen=seen.cluster if seen else None,
                paused=spec.paused,
                others=others,
                refused=self._asking.refusal(one),
            )
            ask = await switchovers.follow(self._kube, one, situation)
            if ask is not None and spec.database is not None:
                self._asking.begin(one, self.watch.engine(spec.database), spec.database, ask)


def lasting(status: PlatformStatus) -> PlatformStatus:
    """Return a status without what changes each second though nothing happens."""
    if status.database is None:
        return status
    members = [replace(member, lag_bytes=None) for member in status.database.replicas]
    quiet = replace(status.database, last_heartbeat_time=None, wal_end=None, replicas=members)
    return replace(status, database=quiet)


def tell_metrics(name: str, status: PlatformStatus) -> None:
    """Set the gauges of one Platform by its status."""
    told = {one.type: one.status for one in status.conditions}
    metrics.DEGRADED.labels(name).set(status.degraded.active)
    metrics.STALLED.labels(name).set(told.get("Stalled") == "True")
    metrics.BOOKS_FAILED.labels(name).set(told.get("ReconciliationSucceeded") == "False")
    if status.database is None:
        return
    metrics.WRITABLE.labels(name).set(status.database.writable)
    metrics.TIMELINE.labels(name).set(status.database.timeline or 0)
    metrics.SYNCHRONOUS.labels(name).set(status.database.sync_state == "Sync")
    _gauge_members(name, status.database.replicas)
    last = status.database.last_failover
    if last is not None:
        metrics.LAST_FAILOVER.labels(name).set(last.start_time.timestamp())
    if last is not None and last.rto_seconds is not None:
        metrics.LAST_RTO.labels(name).set(last.rto_seconds)


def _gauge_members(name: str, members: Sequence[Member]) -> None:
    """Count members anew: one that is gone must not go on with its last figures."""
    metrics.MEMBERS.remove_by_labels({"platform": name})
    metrics.MEMBER_LAG.remove_by_labels({"platform": name})
    for member in members:
        metrics.MEMBERS.labels(name, member.role, member.state).inc()
        if member.lag_bytes is not None:
            metrics.MEMBER_LAG.labels(name, member.name).set(member.lag_bytes)


def _words(action: Action) -> str:
    body = getattr(action, "body", None)
    return f"{body['kind']} {body['metadata']['name']}" if body else str(action)[:300]
