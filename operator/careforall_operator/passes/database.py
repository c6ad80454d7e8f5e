"""The part of a pass about the database: heartbeat, engine, planner, flag."""

from collections.abc import Callable
from datetime import datetime
from functools import partial

import msgspec
import structlog

from careforall_operator.broker import Flag
from careforall_operator.engines import ENGINES, Engine
from careforall_operator.heartbeat import Heart
from careforall_operator.k8s import Kube
from careforall_operator.models import CredentialsRef, Database, PlatformSpec
from careforall_operator.reconcile.cron import BadSchedule
from careforall_operator.reconcile.drills import plan_drill
from careforall_operator.reconcile.failover import Asked, DatabasePlan, plan_database
from careforall_operator.reconcile.observed import Beat, ClusterSeen, JobSeen
from careforall_operator.reconcile.plan import Action, Owner
from careforall_operator.settings import Settings
from careforall_operator.status import Degraded, PlatformStatus

log = structlog.get_logger(__name__)


class DatabaseSeen(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of the database."""

    cluster: ClusterSeen | None
    beat: Beat


class DatabaseWatch:
    """Watches the database of one Platform; it keeps connections and the newest heartbeat, and wakes a pass with a change."""

    def __init__(self, kube: Kube, settings: Settings, wake: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self._wake = wake
        self._heart: tuple[CredentialsRef, Heart] | None = None
        self._flag = Flag(settings.nats_url)
        self._engine: tuple[str, Engine] | None = None

    async def look(self, database: Database, platform: str, now: datetime) -> DatabaseSeen:
        """Ask the engine and the heart."""
        engine = self.engine(database)
        heart = await self._beating(database.credentials_secret_ref, platform)
        if heart is None:
            seen = await engine.observe(database, Beat(at=now, written=False))
            return DatabaseSeen(cluster=seen, beat=_believed(seen, now))
        told = await heart.newest()
        return DatabaseSeen(cluster=await engine.observe(database, told), beat=told)

    def engine(self, database: Database) -> Engine:
        """Return the engine of the database, the same one each time."""
        if self._engine is None or self._engine[0] != database.engine:
            self._engine = (database.engine, ENGINES[database.engine](self._kube))
        return self._engine[1]

    async def _beating(self, ref: CredentialsRef | None, platform: str) -> Heart | None:
        """Return the heart that beats with these credentials; None where there are none."""
        if self._heart is not None and self._heart[0] != ref:
            await self._heart[1].close()
            self._heart = None
        if self._heart is None and ref is not None:
            self._heart = (ref, Heart(partial(self._dsn, ref), platform, self._settings, self._wake))
        return self._heart[1] if self._heart else None

    async def _dsn(self, ref: CredentialsRef) -> str:
        """Return the heartbeat's DSN; read anew each time, for passwords change.

        Raises:
            LookupError: It is not there.
        """
        values = await self._kube.secret(ref.name)
        if ref.key not in values:
            raise LookupError(f"no key {ref.key} in a Secret {ref.name}")
        return values[ref.key]

    async def tell(self, database: Database, status: PlatformStatus, now: datetime) -> None:
        """Tell services whether to refuse writes: a hint, for they notice by themselves; a broker that is away fails nothing."""
        try:
            timeline = status.database.timeline if status.database else None
            await self._flag.tell(database.degraded.flag_bucket, status.degraded, timeline, now)
        except Exception as error:  # noqa: BLE001 - whatever the broker's client raises, the failover goes on
            log.warning("flag not told", error=repr(error))

    async def close(self) -> None:
        """Hang up."""
        if self._heart is not None:
            await self._heart[1].close()
        await self._flag.close()


def _believed(seen: ClusterSeen | None, now: datetime) -> Beat:
    """What stands for a heartbeat where there are no credentials for one: the engine's word."""
    alive = seen is not None and seen.leader_fresh
    return Beat(
        at=now,
        written=alive,
        timeline=seen.timeline if seen else None,
        wal_end=seen.wal_end if seen else None,
        error="" if alive else "the engine knows no living primary",
    )


def decide(
    spec: PlatformSpec,
    seen: DatabaseSeen,
    before: PlatformStatus,
    jobs: list[JobSeen],
    asked: Asked,
    now: datetime,
) -> DatabasePlan:
    """Let the planners of failovers and drills decide; while paused, only look."""
    plan = plan_database(asked, seen.cluster, seen.beat, jobs, before.database, before.degraded, now)
    if spec.paused:
        return DatabasePlan(actions=[], status=plan.status, degraded=before.degraded)
    try:
        drill = plan_drill(asked.database, plan.status, asked.owner, now)
    except BadSchedule as error:
        return msgspec.structs.replace(plan, stalled=("InvalidSpec", str(error)))
    actions: list[Action] = [*plan.actions, *drill.actions]
    return DatabasePlan(actions=actions, status=drill.status, degraded=plan.degraded)


def without_database(spec: PlatformSpec, before: Degraded, now: datetime) -> Degraded:
    """Return whether services refuse writes where no database is looked at: only people can ask for it."""
    if spec.mode == "Normal":
        return Degraded()
    same = before.active and before.reason == "ReadOnlyRequested"
    return before if same else Degraded(active=True, since=now, reason="ReadOnlyRequested")


def asked_of(
    database: Database, owner: Owner, template: dict[str, object] | None, spec: PlatformSpec, *, switching: bool
) -> Asked:
    """Gather what a decision rests on."""
    return Asked(
        database=database,
        owner=owner,
        template=template,
        read_only=spec.mode != "Normal",
        switching=switching,
        paused=spec.paused,
    )
