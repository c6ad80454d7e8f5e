"""Planners: a plan carried out and planned again is empty, whatever was asked for and whatever order things came in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from careforall_operator.models import Autoscale, Owner, PlatformSpec, Rush, Scaling, Service, View
from careforall_operator.passes.latency import METRIC, counted, slowest
from careforall_operator.reconcile.observed import CronJobSeen, DeploymentSeen, JobSeen, Signals
from careforall_operator.reconcile.plan import Action, Apply, Create, Delete, Notice, Release, Scale
from careforall_operator.reconcile.plan import Owner as ObjectOwner
from careforall_operator.reconcile.replicas import plan_replicas
from careforall_operator.reconcile.rushes import plan_rushes
from careforall_operator.reconcile.views import cron_name, plan_views
from careforall_operator.scrape import Page, Sample
from careforall_operator.status import ServiceStatus

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
OWNER = ObjectOwner(kind="Platform", name="main", uid="u-1")
TEMPLATE: dict[str, Any] = {"spec": {"containers": [{"name": "job", "image": "i", "env": [{"name": "A", "value": "b"}]}]}}
NAMES = ("donations", "payments", "totals")

counts = st.integers(0, 12)
autoscales = st.builds(
    lambda low, more, metric, step: Autoscale(
        min=low, max=low + more, metric=metric, target=10, consumers=["c"], step_max=step, stabilization_seconds=0
    ),
    st.integers(1, 5),
    st.integers(0, 8),
    st.sampled_from(["JetStreamLag", "CPU"]),
    st.integers(1, 4),
)


@st.composite
def services(draw: st.DrawFn, name: str) -> Service:
    owner: Owner = draw(st.sampled_from(get_args(Owner)))
    return Service(
        name=name,
        scaling=Scaling(owner=owner),
        replicas=draw(counts),
        autoscale=draw(st.none() | autoscales) if owner == "Operator" else None,
        degraded_replicas=draw(st.none() | counts),
    )


@st.composite
def rushes(draw: st.DrawFn) -> Rush:
    at = NOW + timedelta(seconds=draw(st.integers(-4000, 4000)))
    return Rush(name="gala", at=at, multiplier=draw(st.integers(1, 5)), services=draw(st.lists(st.sampled_from(NAMES))))


@st.composite
def specs(draw: st.DrawFn) -> PlatformSpec:
    views = draw(st.lists(st.sampled_from(["totals", "by_day", "by_donor", "_odd_", "x" * 60]), unique=True))
    return PlatformSpec(
        services=[draw(services(name)) for name in draw(st.lists(st.sampled_from(NAMES), unique=True))],
        events=draw(st.lists(rushes(), max_size=1)),
        views=[View(name=name, schedule="*/5 * * * *", suspend_when_degraded=draw(st.booleans())) for name in views],
    )


deployments = st.fixed_dictionaries(
    {},
    optional={
        name: st.builds(DeploymentSeen, name=st.just(f"cfa-{name}"), replicas=counts, ready=counts, ours=st.booleans())
        for name in NAMES
    },
)
signals = st.builds(
    Signals,
    lag=st.none() | st.fixed_dictionaries({"c": st.integers(0, 200)}),
    cpu=st.none() | st.dictionaries(st.sampled_from(NAMES), st.floats(0, 200)),
)


def carried_out(seen: dict[str, DeploymentSeen], actions: list[Action]) -> dict[str, DeploymentSeen]:
    by_name = {one.name: key for key, one in seen.items()}
    after = dict(seen)
    for action in actions:
        if isinstance(action, Scale):
            key = by_name[action.deployment]
            after[key] = replace(after[key], replicas=action.replicas, ours=True)
        elif isinstance(action, Release):
            key = by_name[action.deployment]
            after[key] = replace(after[key], ours=False)
    return after


def settled(
    spec: PlatformSpec, seen: dict[str, DeploymentSeen], told: Signals, *, degraded: bool
) -> tuple[dict[str, DeploymentSeen], list[ServiceStatus]]:
    """Plan and carry out until nothing is left to do; autoscaling may take a few steps."""
    statuses: list[ServiceStatus] = []
    for _ in range(40):
        plan = plan_replicas(spec, seen, statuses, told, degraded=degraded, now=NOW)
        statuses = plan.statuses
        if not plan.actions:
            return seen, statuses
        seen = carried_out(seen, plan.actions)
    raise AssertionError("never done")


@given(specs(), deployments, signals, st.booleans())
@settings(max_examples=300, deadline=None)
def test_replicas_come_to_rest(spec: PlatformSpec, seen: dict[str, DeploymentSeen], told: Signals, degraded: bool) -> None:
    rest, statuses = settled(spec, seen, told, degraded=degraded)
    again = plan_replicas(spec, rest, statuses, told, degraded=degraded, now=NOW)
    assert again.actions == []
    for service in spec.services:
        if service.name not in rest:
            assert service.name in again.missing
        elif service.scaling.owner != "Operator":
            assert not rest[service.name].ours
            assert rest[service.name].replicas == seen[service.name].replicas
        elif service.autoscale is not None and not (degraded and service.degraded_replicas is not None):
            assert service.autoscale.min <= rest[service.name].replicas <= service.autoscale.max


@given(specs(), deployments, signals, st.permutations([True, False, True, False]), st.booleans())
@settings(max_examples=100, deadline=None)
def test_any_order_of_events_ends_the_same(
    spec: PlatformSpec, seen: dict[str, DeploymentSeen], told: Signals, order: list[bool], last: bool
) -> None:
    fixed = replace(spec, services=[replace(one, autoscale=None) for one in spec.services])
    by_way, at_once = dict(seen), dict(seen)
    for degraded in order:
        by_way, _ = settled(fixed, by_way, told, degraded=degraded)
    by_way, _ = settled(fixed, by_way, told, degraded=last)
    at_once, _ = settled(fixed, at_once, told, degraded=last)
    asked = {one.name for one in fixed.services if one.scaling.owner == "Operator"}
    assert {k: v for k, v in by_way.items() if k in asked} == {k: v for k, v in at_once.items() if k in asked}


@given(specs(), st.booleans())
@settings(max_examples=100, deadline=None)
def test_views_come_to_rest(spec: PlatformSpec, degraded: bool) -> None:
    stray = CronJobSeen(name="main-refresh-gone", body={})
    plan = plan_views(spec, {stray.name: stray}, [], [], TEMPLATE, OWNER, degraded=degraded, now=NOW)
    made = {one.body["metadata"]["name"]: one.body for one in plan.actions if isinstance(one, Apply)}
    assert len(made) == len(spec.views), "two views share a CronJob"
    assert all(len(name) <= 52 for name in made)
    assert [one for one in plan.actions if isinstance(one, Delete)] == [Delete(kind="CronJob", name=stray.name)]
    live = {name: CronJobSeen(name=name, body={**body, "status": {}}) for name, body in made.items()}
    assert plan_views(spec, live, [], plan.statuses, TEMPLATE, OWNER, degraded=degraded, now=NOW).actions == []
    for name, body in made.items():
        edited = msgspec.json.decode(msgspec.json.encode(body))
        edited["spec"]["schedule"] = "0 0 * * *"
        again = plan_views(
            spec, {**live, name: CronJobSeen(name=name, body=edited)}, [], [], TEMPLATE, OWNER, degraded=degraded, now=NOW
        )
        assert [one.body for one in again.actions if isinstance(one, Apply)] == [body]


def test_the_cron_job_says_what_the_contract_says() -> None:
    spec = PlatformSpec(views=[View(name="campaign_totals", schedule="*/5 * * * *", timeout_seconds=60)])
    (action,) = plan_views(spec, {}, [], [], TEMPLATE, OWNER, degraded=False, now=NOW).actions
    assert isinstance(action, Apply)
    assert action.body["metadata"]["name"] == "main-refresh-campaign-totals" == cron_name("main", "campaign_totals")
    pod = action.body["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert (pod["containers"][0]["command"], pod["containers"][0]["args"]) == (
        ["careforall"],
        ["refresh-view", "campaign_totals"],
    )
    assert pod["containers"][0]["env"] == [{"name": "A", "value": "b"}]
    assert pod["restartPolicy"] == "Never"


def test_staleness_and_failures_are_told() -> None:
    spec = PlatformSpec(views=[View(name="totals", schedule="*/5 * * * *")])
    good = JobSeen(
        name="a", view="totals", started=NOW - timedelta(seconds=130), finished=NOW - timedelta(seconds=125), succeeded=True
    )
    bad = JobSeen(name="b", view="totals", finished=NOW - timedelta(seconds=10), failed=True)
    before = JobSeen(name="c", view="totals", finished=NOW - timedelta(seconds=500), failed=True)
    (status,) = plan_views(spec, {}, [good, bad, before], [], TEMPLATE, OWNER, degraded=False, now=NOW).statuses
    assert (status.last_duration_seconds, status.staleness_seconds, status.consecutive_failures) == (5, 120, 1)


def test_a_view_that_was_never_refreshed_is_as_old_as_its_cron_job() -> None:
    spec = PlatformSpec(views=[View(name="totals", schedule="*/5 * * * *")])
    name = cron_name("main", "totals")
    made = CronJobSeen(name=name, body={}, made=NOW - timedelta(hours=2))
    (status,) = plan_views(spec, {name: made}, [], [], TEMPLATE, OWNER, degraded=False, now=NOW).statuses
    assert (status.staleness_seconds, status.last_success_time) == (7200, None)
    refreshed = msgspec.structs.replace(made, last_success=NOW - timedelta(minutes=3))
    (status,) = plan_views(spec, {name: refreshed}, [], [], TEMPLATE, OWNER, degraded=False, now=NOW).statuses
    assert status.staleness_seconds == 180


def cpu(share: float, old: ServiceStatus, pods: int, now: datetime) -> ServiceStatus:
    rules = Autoscale(min=1, max=10, metric="CPU")
    spec = PlatformSpec(services=[Service(name="donations", autoscale=rules)])
    seen = {"donations": DeploymentSeen(name="d", replicas=pods, ours=True)}
    (status,) = plan_replicas(spec, seen, [old], Signals(cpu={"donations": share}), degraded=False, now=now).statuses
    return status


def test_cpu_adds_pods_after_two_minutes_above_seventy_percent() -> None:
    status = cpu(90, ServiceStatus(name="donations"), 3, NOW)
    assert status.desired == 3
    assert cpu(90, status, 3, NOW + timedelta(seconds=119)).desired == 3
    assert cpu(90, status, 3, NOW + timedelta(seconds=120)).desired == 4
    assert cpu(60, status, 3, NOW + timedelta(seconds=120)).above_since is None


def test_cpu_takes_a_pod_away_after_ten_minutes_below_thirty_percent() -> None:
    status = cpu(10, ServiceStatus(name="donations"), 3, NOW)
    assert cpu(10, status, 3, NOW + timedelta(seconds=599)).desired == 3
    assert cpu(10, status, 3, NOW + timedelta(seconds=600)).desired == 2


def test_slow_answers_add_pods_by_half_and_quick_ones_take_them_away() -> None:
    rules = Autoscale(min=1, max=10, metric="P99", target=200, up_after_seconds=30, down_after_seconds=60)
    spec = PlatformSpec(services=[Service(name="donations", autoscale=rules)])
    seen = {"donations": DeploymentSeen(name="d", replicas=4, ours=True)}

    def after(milliseconds: float, old: ServiceStatus, seconds: int) -> ServiceStatus:
        signals = Signals(p99={"donations": milliseconds})
        (status,) = plan_replicas(spec, seen, [old], signals, degraded=False, now=NOW + timedelta(seconds=seconds)).statuses
        return status

    new = ServiceStatus(name="donations")
    slow, quick, usual = after(201, new, 0), after(59, new, 0), after(200, new, 0)
    assert (slow.desired, quick.desired, usual.desired) == (4, 4, 4)
    assert (after(201, slow, 29).desired, after(201, slow, 30).desired) == (4, 6)
    assert (after(59, quick, 59).desired, after(59, quick, 60).desired) == (4, 3)
    assert (usual.above_since, usual.below_since) == (None, None)


def test_the_slowest_answers_are_counted_between_two_looks() -> None:
    def page(pod: str, service: str, quick: int, slow: int) -> Page:
        counts = (("0.1", quick), ("0.5", quick + slow), ("+Inf", quick + slow))
        samples = [Sample(f"{METRIC}_bucket", {"le": limit, "endpoint": "/x"}, float(count)) for limit, count in counts]
        return Page(pod=pod, service=service, samples=(*samples, Sample(f"{METRIC}_sum", {}, 7.0)))

    silent = Page(pod="t", service="totals", samples=None)
    first = counted([page("a", "donations", 100, 0), page("b", "donations", 0, 500), silent], at=0)
    last = counted([page("a", "donations", 150, 50), page("b", "donations", 0, 500), page("c", "donations", 0, 9), silent], at=10)
    assert slowest(first, last) == {"donations": pytest.approx(100 + 400 * 0.98)}
    assert slowest(first, counted([page("a", "donations", 100, 0)], at=10)) == {"donations": 0}
    again = counted([page("a", "donations", 10, 0)], at=10)  # its container was started anew
    assert slowest(first, again) == {"donations": 0}


def test_a_signal_that_cannot_be_read_changes_nothing() -> None:
    spec = PlatformSpec(
        services=[Service(name="totals", autoscale=Autoscale(min=1, max=9, metric="JetStreamLag", consumers=["c"]))]
    )
    seen = {"totals": DeploymentSeen(name="t", replicas=7, ours=True)}
    for told in (Signals(), Signals(lag={"other": 0})):
        plan = plan_replicas(spec, seen, [], told, degraded=False, now=NOW)
        assert (plan.actions, plan.statuses[0].reason) == ([], "SignalMissing")


def test_a_rush_raises_pods_ahead_and_warms_once() -> None:
    rush = Rush(name="gala", at=NOW + timedelta(minutes=10), multiplier=3, lead_seconds=900)
    spec = PlatformSpec(services=[Service(name="donations", replicas=2)], events=[rush])
    seen = {"donations": DeploymentSeen(name="d", replicas=2, ours=True)}
    plan = plan_replicas(spec, seen, [], Signals(), degraded=False, now=NOW)
    assert Scale(deployment="d", replicas=6) in plan.actions
    early = plan_replicas(spec, seen, [], Signals(), degraded=False, now=NOW - timedelta(minutes=6))
    late = plan_replicas(spec, seen, [], Signals(), degraded=False, now=NOW + timedelta(minutes=71))
    assert early.actions == late.actions == []
    first = plan_rushes(spec, [], TEMPLATE, OWNER, NOW)
    (job,) = [one.body for one in first.actions if isinstance(one, Create)]
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["prewarm"]
    assert [one.reason for one in first.actions if isinstance(one, Notice)] == ["RushLeading"]
    assert plan_rushes(spec, first.statuses, TEMPLATE, OWNER, NOW).actions == []


def test_paused_only_looks() -> None:
    spec = PlatformSpec(
        paused=True,
        services=[Service(name="donations", replicas=2)],
        views=[View(name="totals", schedule="* * * * *")],
        events=[Rush(name="gala", at=NOW)],
    )
    seen = {"donations": DeploymentSeen(name="d", replicas=1)}
    assert plan_replicas(spec, seen, [], Signals(), degraded=False, now=NOW).actions == []
    assert plan_views(spec, {}, [], [], TEMPLATE, OWNER, degraded=False, now=NOW).actions == []
    assert plan_rushes(spec, [], TEMPLATE, OWNER, NOW).actions == []
