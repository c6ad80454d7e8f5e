"""How many pods each service should have, and who may say so."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

import msgspec

from careforall_operator.models import PlatformSpec, Service
from careforall_operator.reconcile.autoscale import Decision, follow
from careforall_operator.reconcile.observed import DeploymentSeen, Signals
from careforall_operator.reconcile.plan import Action, Notice, Release, Scale
from careforall_operator.reconcile.rushes import raised
from careforall_operator.status import ServiceStatus

MOST = 200


class ReplicaPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to change and what to tell."""

    actions: list[Action]
    statuses: list[ServiceStatus]
    missing: list[str]


def plan_replicas(
    spec: PlatformSpec,
    seen: Mapping[str, DeploymentSeen],
    before: Sequence[ServiceStatus],
    signals: Signals,
    *,
    degraded: bool,
    now: datetime,
) -> ReplicaPlan:
    """Decide for all services of a platform."""
    known = {status.name: status for status in before}
    actions: list[Action] = []
    statuses = []
    missing = []
    for service in spec.services:
        deployment = seen.get(service.name)
        old = known.get(service.name, ServiceStatus(name=service.name))
        if deployment is None:
            missing.append(service.name)
            statuses.append(ServiceStatus(name=service.name, owner=service.scaling.owner, reason="MissingDeployment"))
            continue
        decision = _decide(spec, service, deployment, old, signals, degraded=degraded, now=now)
        done = [] if spec.paused else _actions(service, deployment, decision)
        actions += done
        scaled = service.autoscale is not None and any(isinstance(one, Scale) for one in done)
        statuses.append(_status(service, deployment, decision, now if scaled else old.last_scale_time))
    return ReplicaPlan(actions=actions, statuses=statuses, missing=missing)


def _decide(
    spec: PlatformSpec,
    service: Service,
    deployment: DeploymentSeen,
    old: ServiceStatus,
    signals: Signals,
    *,
    degraded: bool,
    now: datetime,
) -> Decision:
    if service.scaling.owner != "Operator":
        return Decision(replicas=None, reason=f"Owner{service.scaling.owner}")
    if degraded and service.degraded_replicas is not None:
        return Decision(replicas=service.degraded_replicas, reason="Degraded")
    usual = _usual(service, deployment, old, signals, now)
    times = raised(spec.events, service.name, now)
    if times > 1 and usual.replicas is not None:
        return _raised(usual, service, deployment, times)
    return usual


def _usual(service: Service, deployment: DeploymentSeen, old: ServiceStatus, signals: Signals, now: datetime) -> Decision:
    if service.autoscale is not None:
        return follow(service.name, service.autoscale, deployment.replicas, old, signals, now=now)
    if service.replicas is not None:
        return Decision(replicas=service.replicas, reason="Fixed")
    return Decision(replicas=None, reason="NotAsked")


def _raised(usual: Decision, service: Service, deployment: DeploymentSeen, times: int) -> Decision:
    """Multiply the fixed number, or the least of the autoscaling: never what a rush has made."""
    assert usual.replicas is not None
    if service.autoscale is None:
        return msgspec.structs.replace(usual, replicas=min(usual.replicas * times, MOST), reason="Rush")
    least = min(service.autoscale.min * times, service.autoscale.max)
    if least <= usual.replicas:
        return usual
    return msgspec.structs.replace(usual, replicas=max(least, min(deployment.replicas, service.autoscale.max)), reason="Rush")


def _actions(service: Service, deployment: DeploymentSeen, decision: Decision) -> list[Action]:
    if decision.replicas is None:
        return [Release(deployment=deployment.name, replicas=deployment.replicas)] if deployment.ours else []
    if deployment.ours and deployment.replicas == decision.replicas:
        return []
    done: list[Action] = [Scale(deployment=deployment.name, replicas=decision.replicas)]
    if deployment.replicas != decision.replicas:
        words = f"{service.name}: {deployment.replicas} -> {decision.replicas} pods ({decision.reason})"
        done.append(Notice(reason="Scaled", message=words))
    return done


def _status(service: Service, deployment: DeploymentSeen, decision: Decision, scaled_at: datetime | None) -> ServiceStatus:
    return ServiceStatus(
        name=service.name,
        owner=service.scaling.owner,
        desired=decision.replicas,
        ready=deployment.ready,
        updated=deployment.updated,
        reason=decision.reason,
        last_scale_time=scaled_at,
        above_since=decision.above_since,
        below_since=decision.below_since,
    )


def wanted_signals(services: Iterable[Service]) -> set[str]:
    """Return the signals that anybody follows: JetStreamLag, CPU, P99."""
    return {service.autoscale.metric for service in services if service.autoscale is not None}
