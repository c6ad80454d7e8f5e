"""Planners of failovers, switchovers and drills: whatever happens in whatever order, each timeline is told once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from careforall_operator.models import Database, DegradedRules, Drills, PlatformSpec, SwitchoverSpec
from careforall_operator.models import SecretRef as Ref
from careforall_operator.passes.database import DatabaseSeen, asked_of, decide
from careforall_operator.reconcile.answers import Findings, answers
from careforall_operator.reconcile.cron import BadSchedule, due, parsed
from careforall_operator.reconcile.drills import plan_drill
from careforall_operator.reconcile.failover import Asked, DatabasePlan, plan_database
from careforall_operator.reconcile.labels import plan_labels
from careforall_operator.reconcile.observed import Beat, ClusterSeen, Fork, JobSeen, PodRole, ServiceSeen
from careforall_operator.reconcile.plan import Apply, Create, Notice, Owner, StripLabel
from careforall_operator.reconcile.routes import plan_route
from careforall_operator.reconcile.switchovers import Situation, plan_switchover
from careforall_operator.reconcile.timelines import PodTimeline, awaited, plan_left
from careforall_operator.status import DatabaseStatus, Degraded, Member, PlatformStatus, SwitchoverStatus

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
DATABASE = Database(cluster_name="cfa", degraded=DegradedRules(enter_after_seconds=5, exit_after_seconds=3))
OWNER = Owner(kind="Platform", name="main", uid="u")
TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "job", "image": "i"}]}}
ASKED = Asked(database=DATABASE, owner=OWNER, template=TEMPLATE)


def seen(timeline: int, *, fresh: bool = True, stale_label: bool = False) -> ClusterSeen:
    leader, other = f"cfa-{timeline % 2}", f"cfa-{(timeline + 1) % 2}"
    members = (
        Member(name=leader, role="primary", state="running", timeline=timeline),
        Member(name=other, role="replica", state="streaming", timeline=timeline, lag_bytes=0, sync=True),
    )
    labels = ("primary", "primary" if stale_label else "replica")
    pods = tuple(PodRole(name=n, role=r, ready=True, address=n) for n, r in zip((leader, other), labels, strict=True))
    history = tuple(Fork(timeline=n, wal_end=n * 100, successor=f"cfa-{(n + 1) % 2}") for n in range(1, timeline))
    return ClusterSeen(
        leader=leader,
        leader_fresh=fresh,
        timeline=timeline,
        members=members,
        pods=pods,
        history=history,
        endpoints=(leader,),
        repairable=True,
    )


class Story:
    """Seconds that pass; the status is all that is kept between two of them, as after a SIGKILL."""

    def __init__(self) -> None:
        self.status: bytes = b""
        self.degraded = Degraded()
        self.at = NOW
        self.jobs: dict[str, JobSeen] = {}
        self.told: set[str] = set()
        self.plan: DatabasePlan | None = None
        self.beats: dict[int, list[datetime]] = {}
        self.spec = PlatformSpec()

    def second(
        self, cluster: ClusterSeen | None, *, written: bool, timeline: int | None = None, done: bool = True
    ) -> DatabasePlan:
        before = msgspec.json.decode(self.status, type=DatabaseStatus) if self.status else None
        number = timeline or (cluster.timeline if cluster else None)
        beat = self._beat(number) if written else Beat(at=self.at, written=False)
        asked = asked_of(DATABASE, OWNER, TEMPLATE, self.spec, switching=False)
        known = PlatformStatus(database=before, degraded=self.degraded)
        self.plan = decide(self.spec, DatabaseSeen(cluster=cluster, beat=beat), known, list(self.jobs.values()), asked, self.at)
        for action in self.plan.actions:
            if isinstance(action, Create):
                name = action.body["metadata"]["name"]
                self.jobs.setdefault(name, JobSeen(name=name))
            if isinstance(action, Notice) and action.key:
                assert action.key not in self.told, "told twice"
                self.told.add(action.key)
        if done:
            self.jobs = {name: replace(one, succeeded=True) for name, one in self.jobs.items()}
        self.status = msgspec.json.encode(self.plan.status)
        self.degraded = self.plan.degraded
        self.at += timedelta(seconds=1)
        return self.plan

    def _beat(self, number: int | None) -> Beat:
        """What the database remembers of this beat's timeline and of the one before."""
        if number is None:
            return Beat(at=self.at, written=True, wal_end=50)
        earlier = [moments[-1] for known, moments in self.beats.items() if known < number]
        row = self.beats.setdefault(number, [])
        row.append(self.at)
        return Beat(at=self.at, written=True, timeline=number, wal_end=50, first=row[0], before=max(earlier, default=None))

    def rest(self, timeline: int, seconds: int = 8) -> DatabasePlan:
        for _ in range(seconds):
            plan = self.second(seen(timeline), written=True)
        return plan


def test_a_crash_from_the_last_write_to_the_report() -> None:
    story = Story()
    story.rest(1, 3)
    last_write = story.at - timedelta(seconds=1)
    for _ in range(4):
        assert not story.second(seen(1, fresh=False), written=False).degraded.active
    story.second(seen(1, fresh=False), written=False)
    plan = story.second(seen(1, fresh=False), written=False)
    assert (plan.degraded.active, plan.degraded.reason) == (True, "PrimaryLost")
    plan = story.rest(2)
    report = plan.status.last_failover
    assert report is not None
    assert (report.start_time, report.old_primary, report.new_primary, report.timeline) == (last_write, "cfa-1", "cfa-0", 2)
    assert (report.detect_seconds, report.rto_seconds, report.result) == (6.0, 7.0, "Succeeded")
    assert report.lost_bytes_estimate == 0
    assert not plan.degraded.active
    assert set(story.jobs) == {"main-recon-2"}
    assert story.told == {"failover-2"}


def test_a_database_that_never_had_a_primary_is_starting() -> None:
    story = Story()
    for _ in range(20):
        plan = story.second(None, written=False)
        assert not plan.degraded.active
        assert plan.actions == []
    found = {"WritesEnabled": "Starting", "DatabaseAvailable": "Starting", "DatabaseRedundant": "NotObserved"}
    assert _reasons(plan, None).items() >= found.items()
    for _ in range(20):  # a primary, and no database for heartbeats on it yet
        plan = story.second(seen(1), written=False)
        assert not plan.degraded.active
        assert plan.actions == []
    assert _reasons(plan, seen(1)).items() >= {"WritesEnabled": "Starting", "DatabaseAvailable": "PrimaryServing"}.items()
    plan = story.rest(1, 4)
    assert (plan.status.timeline, plan.status.last_failover, story.told) == (1, None, set())
    for _ in range(7):
        plan = story.second(None, written=False)
    assert plan.degraded.reason == "PrimaryLost"
    assert _reasons(plan, None)["WritesEnabled"] == "PrimaryLost"


def _reasons(plan: DatabasePlan, cluster: ClusterSeen | None) -> dict[str, str]:
    found = Findings(
        spec=PlatformSpec(database=DATABASE),
        services=[],
        views=[],
        database=plan.status,
        degraded=plan.degraded,
        seen=cluster,
        beat=Beat(at=NOW, written=False, error="refused"),
    )
    return {one.type: one.reason for one in answers(found, generation=1, now=NOW)}


def test_nothing_is_ready_while_services_refuse_writes_that_nobody_asked_them_to_refuse() -> None:
    status = DatabaseStatus(engine="Patroni", timeline=3, writable=True, last_heartbeat_time=NOW, good_since=NOW)

    def told(reason: str) -> dict[str, str]:
        return _reasons(DatabasePlan(actions=[], status=status, degraded=Degraded(active=True, since=NOW, reason=reason)), None)

    assert (told("PrimaryLost")["WritesEnabled"], told("PrimaryLost")["Ready"]) == ("Recovering", "DatabaseUnavailable")
    assert (told("ReadOnlyRequested")["WritesEnabled"], told("ReadOnlyRequested")["Ready"]) == ("ReadOnlyRequested", "Serving")


def test_the_report_goes_by_heartbeats_and_not_by_passes() -> None:
    """Beats between two looks: the last before at 1.4 s, the first after at 1.9 s; the pass comes at 3 s."""
    story = Story()
    story.rest(1, 2)
    last, first = story.at + timedelta(seconds=0.4), story.at + timedelta(seconds=0.9)
    story.at += timedelta(seconds=2)
    before = msgspec.json.decode(story.status, type=DatabaseStatus)
    beat = Beat(at=story.at, written=True, timeline=2, wal_end=50, first=first, before=last)
    plan = plan_database(ASKED, seen(2), beat, [], before, Degraded(), story.at)
    report = plan.status.last_failover
    assert report is not None
    assert (report.start_time, report.write_time, report.rto_seconds) == (last, first, 0.5)
    assert report.detect_time == report.promote_time == report.endpoint_time == first


def test_a_failover_while_paused_is_compared_and_told_afterwards() -> None:
    story = Story()
    story.rest(1)
    story.spec = PlatformSpec(paused=True)
    report = story.rest(2).status.last_failover
    assert report is not None
    assert (report.result, report.reconciliation_job, story.jobs, story.told) == ("InProgress", None, {}, set())
    story.spec = PlatformSpec()
    report = story.rest(2, 3).status.last_failover
    assert report is not None
    assert (report.result, set(story.jobs), story.told) == ("Succeeded", {"main-recon-2"}, {"failover-2"})


def test_a_job_that_was_taken_away_before_it_ended_is_made_again() -> None:
    story = Story()
    story.rest(1)
    story.second(seen(2), written=True, done=False)
    assert story.jobs.pop("main-recon-2") is not None
    report = story.rest(2, 3).status.last_failover
    assert report is not None
    assert (report.result, set(story.jobs)) == ("Succeeded", {"main-recon-2"})


def test_a_job_that_failed_is_made_anew_where_somebody_took_it_away() -> None:
    story = Story()
    story.rest(1)
    story.second(seen(2), written=True, done=False)
    story.jobs["main-recon-2"] = JobSeen(name="main-recon-2", failed=True)
    plan = story.second(seen(2), written=True, done=False)
    assert _reasons(plan, seen(2))["ReconciliationSucceeded"] == "JobFailed"
    assert story.second(seen(2), written=True, done=False).actions == []
    del story.jobs["main-recon-2"]
    plan = story.second(seen(2), written=True, done=False)
    assert ([type(one) for one in plan.actions], _reasons(plan, seen(2))["ReconciliationSucceeded"]) == ([Create], "JobFailed")
    plan = story.rest(2, 3)
    assert _reasons(plan, seen(2))["ReconciliationSucceeded"] == "JobSucceeded"
    assert [one.result for one in plan.status.failover_history] == ["Succeeded"]


def test_a_primary_that_fell_before_it_took_a_write_is_part_of_the_same_outage() -> None:
    story = Story()
    story.rest(1)
    last = story.at - timedelta(seconds=1)
    story.second(seen(2), written=False)
    story.second(seen(3), written=False)
    back = story.at
    (report,) = story.rest(3).status.failover_history
    assert (report.id, report.start_time, report.write_time, report.result) == ("timeline-3", last, back, "Succeeded")
    assert (report.old_primary, report.new_primary, story.told) == ("cfa-1", "cfa-1", {"failover-3"})


def test_a_primary_that_fell_before_its_lock_told_of_it_is_named_by_the_history_and_told_once_compared() -> None:
    story = Story()
    story.rest(1)
    report = story.second(seen(1), written=True, timeline=2, done=False).status.last_failover
    assert report is not None
    assert (report.new_primary, report.reconciliation_job) == (None, "main-recon-2")
    older = story.second(seen(3), written=True, done=False).status.failover_history[0]
    assert (older.timeline, older.new_primary, older.lost_bytes_estimate) == (2, "cfa-0", 0)
    assert story.told == set()
    story.rest(3)
    assert story.told == {"failover-2", "failover-3"}


def test_an_old_timeline_is_no_heartbeat() -> None:
    story = Story()
    story.rest(2)
    plan = story.second(seen(2), written=True, timeline=1)
    assert not plan.status.writable
    assert plan.status.timeline == plan.status.epoch == 2


def test_only_when_all_agree_a_label_is_taken_away() -> None:
    story = Story()
    story.rest(2)

    def strips(cluster: ClusterSeen, *, written: bool) -> list[StripLabel]:
        actions = story.second(cluster, written=written).actions
        return [action for action in actions if isinstance(action, StripLabel)]

    assert strips(seen(2, stale_label=True), written=False) == []
    assert strips(seen(2, stale_label=True, fresh=False), written=True) == []
    (strip,) = strips(seen(2, stale_label=True), written=True)
    assert (strip.pod, strip.was) == ("cfa-1", "primary")


def test_a_leader_is_the_target_until_it_has_a_timeline_of_its_own() -> None:
    story = Story()
    story.rest(1)
    elected = replace(seen(2), timeline=1)  # holds the lock, is not promoted yet
    plan = story.second(elected, written=False)
    assert (plan.status.current_primary, plan.status.target_primary) == ("cfa-1", "cfa-0")
    plan = story.second(replace(elected, timeline=None), written=True, timeline=2)
    assert (plan.status.current_primary, plan.status.target_primary) == ("cfa-1", "cfa-0")
    plan = story.rest(2)
    report = plan.status.last_failover
    assert report is not None
    assert (report.old_primary, report.new_primary, plan.status.current_primary) == ("cfa-1", "cfa-0", "cfa-0")


def test_writes_that_failed_once_more_soon_after_are_not_back_until_they_last() -> None:
    story = Story()
    story.rest(1, 2)
    last = story.at - timedelta(seconds=1)
    story.second(seen(2), written=True, done=False)
    before = msgspec.json.decode(story.status, type=DatabaseStatus)
    later = story.at + timedelta(seconds=4)
    again = Beat(at=later, written=True, timeline=2, wal_end=50, first=later, before=last)
    report = plan_database(ASKED, seen(2), again, [], before, Degraded(), later).status.last_failover
    assert report is not None
    assert (report.start_time, report.write_time, report.rto_seconds) == (last, later, 6.0)


def test_services_are_asked_until_none_is_on_the_old_timeline() -> None:
    story = Story()
    story.rest(1)
    status = story.rest(2).status
    pods = [PodTimeline(pod="a", oldest=2), PodTimeline(pod="b", oldest=1), PodTimeline(pod="c", answered=False)]
    assert awaited(status) is not None
    status = plan_left(status, pods, story.at)
    assert status.pods_behind == ["b", "c"]
    assert _left(status) == ("False", "StillConnected")
    assert plan_left(status, None, story.at) == status
    status = plan_left(status, [pods[0], PodTimeline(pod="b")], story.at)
    assert (status.pods_behind, awaited(status), _left(status)) == ([], None, ("True", "AllLeft"))
    assert status.last_failover is not None
    assert status.failover_history == [status.last_failover]
    assert status.last_failover.left_time == story.at


def _left(status: DatabaseStatus) -> tuple[str, str]:
    found = Findings(
        spec=PlatformSpec(), services=[], views=[], database=status, degraded=Degraded(), seen=None, beat=None, stalled=None
    )
    return next((one.status, one.reason) for one in answers(found, generation=1, now=NOW) if one.type == "OldTimelineLeft")


def test_labels_set_by_hand_are_repaired_by_lock_and_notes() -> None:
    whole = seen(2)
    leader, other = whole.pods
    claiming = replace(leader, claims=True)

    def wants(*pods: PodRole, **more: Any) -> list[tuple[str, str]]:
        actions = plan_labels(replace(whole, pods=pods, **more), heard=False)
        return [(type(action).__name__, action.pod) for action in actions if not isinstance(action, Notice)]  # type: ignore[union-attr]

    assert wants(claiming, other) == []
    assert wants(claiming, replace(other, role="primary")) == [("StripLabel", other.name)]
    assert wants(claiming, replace(other, role="primary", claims=True)) == []
    assert wants(replace(claiming, role=""), other) == [("SetLabel", leader.name)]
    assert wants(replace(claiming, role="replica"), replace(other, role="primary")) == [("SetLabel", leader.name)]
    assert wants(replace(leader, role=""), other) == []
    assert wants(replace(claiming, role=""), other, leader_fresh=False) == []
    assert wants(replace(claiming, role=""), other, repairable=False) == []


SELECTOR = {"careforall.dev/postgres": "cfa", "careforall.dev/role": "primary"}
labels = st.sampled_from(["app", *SELECTOR])
selectors = st.just(SELECTOR) | st.dictionaries(labels, st.sampled_from(["cfa", "primary", "replica", ""]))


def routed(selector: dict[str, str], seconds: int = 1) -> list[tuple[dict[str, str], list[str]]]:
    """What the write Service selects after each second of looking and doing what is planned, and the Events of that second."""
    story = Story()
    service = ServiceSeen(name="cfa-rw", selector=selector)
    steps = []
    for _ in range(seconds):
        plan = story.second(replace(seen(1), write_service=service), written=True)
        for action in plan.actions:
            if isinstance(action, Apply):
                assert action.body["metadata"] == {"name": "cfa-rw"}
                assert set(action.body["spec"]) == {"selector"}
                service = replace(service, selector=action.body["spec"]["selector"])
        told = [action.reason for action in plan.actions if isinstance(action, Notice)]
        steps.append((dict(service.selector), told))
    return steps


@given(selectors)
def test_whatever_the_write_service_selects_one_plan_sets_it_right_and_the_next_is_empty(selector: dict[str, str]) -> None:
    told = [] if selector == SELECTOR else ["WrongSelector"]
    assert routed(selector, 3) == [(SELECTOR, told), (SELECTOR, []), (SELECTOR, [])]


def test_a_write_service_that_is_not_ours_is_not_planned() -> None:
    assert plan_route(None, "cfa") == []
    assert plan_route(seen(1), "cfa") == []
    wrong = replace(seen(1, fresh=False), write_service=ServiceSeen(name="cfa-rw", selector={}))
    assert [type(action) for action in plan_route(wrong, "cfa")] == [Apply, Notice]


moments = st.sampled_from(["good", "lost", "unseen", "promoted", "early", "slow job", "stale"])


@given(st.lists(moments, max_size=60))
@settings(max_examples=200, deadline=None)
def test_whatever_happens_each_timeline_has_one_job_and_one_report(happened: list[str]) -> None:
    story = Story()
    story.rest(1)
    timeline = 1
    for moment in happened:
        timeline += moment == "promoted"
        match moment:
            case "lost":
                story.second(seen(timeline, fresh=False), written=False)
            case "unseen":
                story.second(None, written=True, timeline=timeline)
            case "early":  # the heartbeat knows before the lock does
                timeline += 1
                story.second(seen(timeline - 1, fresh=False), written=True, timeline=timeline)
            case "slow job":
                story.second(seen(timeline), written=True, done=False)
            case "stale" if timeline > 1:
                story.second(seen(timeline), written=True, timeline=timeline - 1)
            case _:
                story.second(seen(timeline), written=True)
    plan = story.rest(timeline, 12)
    assert not plan.degraded.active
    assert plan.actions == []
    reports = plan.status.failover_history
    assert [one.result for one in reports] == ["Succeeded"] * len(reports)
    assert len({one.id for one in reports}) == len(reports)
    jobs = {one.reconciliation_job for one in reports}
    assert len(reports) == min(len(story.jobs), 10) or jobs <= set(story.jobs)
    assert story.told >= {f"failover-{one.timeline}" for one in reports}
    if timeline > 1:
        assert reports[0].timeline == timeline


SITUATION = Situation(
    database=DATABASE,
    status=DatabaseStatus(
        engine="Patroni",
        current_primary="cfa-1",
        timeline=1,
        writable=True,
        sync_state="Sync",
        replicas=list(seen(1).members),
    ),
    seen=seen(1),
)
ASK = SwitchoverSpec(platform_ref=Ref(name="main"))


def changed(**fields: Any) -> Situation:
    assert SITUATION.status is not None
    return replace(SITUATION, status=replace(SITUATION.status, **fields))


@pytest.mark.parametrize(
    ("situation", "ask", "reason"),
    [
        (replace(SITUATION, database=None), ASK, "PlatformMissing"),
        (replace(SITUATION, database=replace(DATABASE, engine="External")), ASK, "EngineCannotSwitch"),
        (replace(SITUATION, seen=None), ASK, "Unobservable"),
        (replace(SITUATION, seen=seen(1, fresh=False)), ASK, "NoPrimary"),
        (replace(SITUATION, others=1), ASK, "FailoverRunning"),
        (replace(SITUATION, paused=True), ASK, "PlatformPaused"),
        (replace(SITUATION, degraded=Degraded(active=True)), ASK, "WritesOff"),
        (changed(writable=False), replace(ASK, force=True), "WritesOff"),
        (changed(sync_state="Async"), ASK, "NoSyncStandby"),
        (changed(replicas=[replace(one, lag_bytes=2**30) for one in seen(1).members]), ASK, "LagExceeded"),
        (SITUATION, replace(ASK, candidate="cfa-7"), "UnknownCandidate"),
    ],
)
def test_a_guard_refuses_and_nothing_is_asked(situation: Situation, ask: SwitchoverSpec, reason: str) -> None:
    plan = plan_switchover(ask, SwitchoverStatus(), situation, NOW)
    assert plan.ask is None
    assert plan.status.phase == "Refused"
    assert {one.type: one.reason for one in plan.status.conditions} == {"GuardsPassed": reason, "Complete": "Refused"}


def test_a_switchover_is_asked_once_and_takes_its_report() -> None:
    begun = plan_switchover(ASK, SwitchoverStatus(), SITUATION, NOW)
    assert begun.ask is not None
    assert (begun.ask.leader, begun.status.phase, begun.status.from_timeline) == ("cfa-1", "Running", 1)
    again = plan_switchover(ASK, begun.status, SITUATION, NOW + timedelta(seconds=1))
    assert (again.ask, again.status) == (None, begun.status)
    late = plan_switchover(ASK, begun.status, SITUATION, NOW + timedelta(seconds=121))
    assert (late.ask, late.status.phase) == (None, "Failed")
    story = Story()
    story.rest(1)
    after = replace(SITUATION, status=story.rest(2).status)
    done = plan_switchover(ASK, begun.status, after, NOW + timedelta(seconds=9))
    assert done.status.phase == "Succeeded"
    assert done.status.report == story.rest(2).status.last_failover


def test_force_overrules_lag_and_the_missing_standby_only() -> None:
    forced = replace(ASK, force=True)
    assert plan_switchover(forced, SwitchoverStatus(), changed(sync_state="Async"), NOW).ask is not None


def test_a_drill_is_made_once_for_each_moment_and_not_after_its_window() -> None:
    database = replace(DATABASE, drills=Drills(enabled=True, schedule="0 12 * * *", window_seconds=600))
    status = DatabaseStatus(engine="Patroni")
    plan = plan_drill(database, status, OWNER, NOW + timedelta(minutes=3))
    (drill,) = [action.body for action in plan.actions if isinstance(action, Create)]
    assert drill["metadata"]["name"] == "main-drill-20261126-1200"
    assert drill["spec"]["kind"] == "Drill"
    assert plan_drill(database, plan.status, OWNER, NOW + timedelta(minutes=4)).actions == []
    assert plan_drill(database, status, OWNER, NOW + timedelta(minutes=11)).actions == []
    assert plan_drill(DATABASE, status, OWNER, NOW).actions == []


@pytest.mark.parametrize("drills", [Drills(enabled=True, schedule="0 3 * * MON"), Drills(enabled=True, time_zone="Mars/Olympus")])
def test_drills_that_cannot_be_read_keep_no_failover_from_being_followed(drills: Drills) -> None:
    database = replace(DATABASE, drills=drills)
    asked = Asked(database=database, owner=OWNER)
    lost = Beat(at=NOW, written=False, error="refused")
    before = PlatformStatus(database=DatabaseStatus(engine="Patroni", timeline=3, last_heartbeat_time=NOW, bad_since=NOW))
    found = DatabaseSeen(cluster=None, beat=lost)
    plan = decide(PlatformSpec(database=database), found, before, [], asked, NOW + timedelta(seconds=30))
    assert plan.stalled is not None
    assert plan.stalled[0] == "InvalidSpec"
    assert plan.degraded.reason == "PrimaryLost"


@pytest.mark.parametrize(
    ("schedule", "moment"),
    [
        ("0 3 1 * *", "2026-11-01T03:00"),
        ("*/15 * * * *", "2026-11-26T12:45"),
        ("0 9-17/4 * * 1-5", "2026-11-26T13:00"),
        ("30 8 13 * 4", "2026-11-26T08:30"),
        ("0 0 * * 7", "2026-11-29T00:00"),
    ],
)
def test_cron(schedule: str, moment: str) -> None:
    at = datetime.fromisoformat(moment).replace(tzinfo=UTC)
    assert due(schedule, "UTC", at + timedelta(seconds=40), timedelta(seconds=60)) == at
    assert due(schedule, "UTC", at - timedelta(minutes=1), timedelta(seconds=0)) is None


def test_cron_knows_zones_and_refuses_nonsense() -> None:
    noon = datetime(2026, 11, 26, 11, 0, tzinfo=UTC)
    assert due("0 12 * * *", "Europe/Berlin", noon, timedelta(minutes=1)) == noon
    for bad in ("* * * *", "60 * * * *", "a * * * *", "*/0 * * * *", "5-1 * * * *"):
        with pytest.raises(BadSchedule):
            parsed(bad)
    for nowhere in ("Mars/Olympus", "../Berlin"):
        with pytest.raises(BadSchedule, match=nowhere):
            due("0 12 * * *", nowhere, noon, timedelta(minutes=1))
