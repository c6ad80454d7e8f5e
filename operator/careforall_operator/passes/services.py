"""The part of a pass about services and views: Deployments, CronJobs, Jobs and announced rushes."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

import msgspec

from careforall_operator import broker
from careforall_operator.k8s import CRON_JOB, DEPLOYMENT, JOB, POD_METRICS, POD_TEMPLATE, HTTPStatusError, Kube
from careforall_operator.models import PlatformSpec
from careforall_operator.passes import reading
from careforall_operator.passes.latency import Latency
from careforall_operator.reconcile.observed import JobSeen, Signals
from careforall_operator.reconcile.plan import Action, Owner
from careforall_operator.reconcile.replicas import plan_replicas, wanted_signals
from careforall_operator.reconcile.rushes import plan_rushes
from careforall_operator.reconcile.views import plan_views
from careforall_operator.status import PlatformStatus

MINE = "careforall.dev/platform"


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a platform besides its database."""

    deployments: list[dict[str, Any]]
    cron_jobs: list[dict[str, Any]]
    jobs: list[JobSeen]
    template: dict[str, Any] | None
    signals: Signals


async def look(kube: Kube, spec: PlatformSpec, platform: str, monitors: Iterable[str], latency: Latency) -> World:
    """Read everything."""
    found = await kube.all(DEPLOYMENT, **{reading.SERVICE_LABEL: ""})
    template = await kube.find(POD_TEMPLATE, spec.jobs.pod_template) if spec.views or spec.events or spec.database else None
    return World(
        deployments=found,
        cron_jobs=await kube.all(CRON_JOB, **{MINE: platform}),
        jobs=reading.jobs(await kube.all(JOB, **{MINE: platform})),
        template=template.get("template") if template else None,
        signals=await _signals(kube, spec, found, monitors, latency),
    )


async def _signals(
    kube: Kube, spec: PlatformSpec, found: Iterable[Mapping[str, Any]], monitors: Iterable[str], latency: Latency
) -> Signals:
    wanted = wanted_signals(spec.services)
    return Signals(
        lag=await broker.waiting(monitors) if "JetStreamLag" in wanted else None,
        cpu=await _cpu(kube, spec, found) if "CPU" in wanted else None,
        p99=await latency.look(kube) if "P99" in wanted else None,
    )


async def _cpu(kube: Kube, spec: PlatformSpec, found: Iterable[Mapping[str, Any]]) -> dict[str, float] | None:
    """Ask the metrics API; a cluster without one has no signal, and then nothing is changed."""
    followed = {one.name for one in spec.services if one.autoscale is not None and one.autoscale.metric == "CPU"}
    shares = {}
    for deployment in found:
        name = deployment["metadata"]["labels"][reading.SERVICE_LABEL]
        if name not in followed:
            continue
        try:
            pods = await kube.all(POD_METRICS, **deployment["spec"]["selector"]["matchLabels"])
        except HTTPStatusError:
            return None
        share = reading.cpu_share(pods, reading.requested_cpu(deployment))
        if share is not None:
            shares[name] = share
    return shares


class Decided(msgspec.Struct, frozen=True, kw_only=True):
    """What the planners want and say."""

    actions: list[Action]
    status: PlatformStatus
    stalled: tuple[str, str] | None


def decide(spec: PlatformSpec, world: World, before: PlatformStatus, owner: Owner, *, degraded: bool, now: datetime) -> Decided:
    """Let the planners of replicas, rushes and views decide."""
    replicas = plan_replicas(
        spec, reading.deployments(world.deployments), before.services, world.signals, degraded=degraded, now=now
    )
    rushes = plan_rushes(spec, before.events, world.template, owner, now)
    views = plan_views(
        spec, reading.cron_jobs(world.cron_jobs), world.jobs, before.views, world.template, owner, degraded=degraded, now=now
    )
    ready = sum(one.ready >= (one.desired or 0) and one.reason != "MissingDeployment" for one in replicas.statuses)
    status = msgspec.structs.replace(
        before,
        services=replicas.statuses,
        events=rushes.statuses,
        views=views.statuses,
        ready_services=f"{ready}/{len(replicas.statuses)}",
    )
    return Decided(
        actions=[*replicas.actions, *rushes.actions, *views.actions],
        status=status,
        stalled=_stalled(spec, replicas.missing, world.template),
    )


def _stalled(spec: PlatformSpec, missing: list[str], template: Mapping[str, Any] | None) -> tuple[str, str] | None:
    if missing:
        return "MissingDeployment", f"no Deployment with the label {reading.SERVICE_LABEL} for {', '.join(missing)}"
    if template is None and (spec.views or (spec.database and spec.database.failover.reconciliation.enabled)):
        return "MissingPodTemplate", f"no PodTemplate {spec.jobs.pod_template}: Jobs get their pods from it"
    return None
