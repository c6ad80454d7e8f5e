"""The operator's own autoscaling: quick up, slow down, in bounded steps, and never on a signal that could not be read."""

from datetime import datetime, timedelta

import msgspec

from careforall_operator.models import Autoscale
from careforall_operator.reconcile.observed import Signals
from careforall_operator.status import ServiceStatus


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How many pods, why, and since when a signal has been beyond its limits."""

    replicas: int | None
    reason: str
    above_since: datetime | None = None
    below_since: datetime | None = None


def follow(name: str, rules: Autoscale, current: int, old: ServiceStatus, signals: Signals, *, now: datetime) -> Decision:
    """Return the number of pods that the signal asks for, from the current number on."""
    inside = min(max(current, rules.min), rules.max)
    if rules.metric == "JetStreamLag":
        return _by_lag(rules, inside, old, signals, now)
    return _by_cpu(name, rules, inside, old, signals, now)


def _by_lag(rules: Autoscale, current: int, old: ServiceStatus, signals: Signals, now: datetime) -> Decision:
    if signals.lag is None or any(consumer not in signals.lag for consumer in rules.consumers):
        return Decision(replicas=current, reason="SignalMissing")
    waiting = sum(signals.lag[consumer] for consumer in rules.consumers)
    asked = min(max(-(-waiting // rules.target), rules.min), rules.max)
    if asked >= current:
        return Decision(replicas=min(asked, current + rules.step_max), reason="Lag")
    if _settling(old.last_scale_time, rules, now):
        return Decision(replicas=current, reason="Stabilizing")
    return Decision(replicas=max(asked, current - rules.step_max), reason="Lag")


def _by_cpu(name: str, rules: Autoscale, current: int, old: ServiceStatus, signals: Signals, now: datetime) -> Decision:
    share = None if signals.cpu is None else signals.cpu.get(name)
    if share is None:
        return Decision(replicas=current, reason="SignalMissing")
    above = (old.above_since or now) if share > rules.up_above_percent else None
    below = (old.below_since or now) if share < rules.down_below_percent else None
    if above is not None and now - above >= timedelta(seconds=rules.up_after_seconds):
        # What would bring the share back under the limit; the count starts anew, for the new pods must show first.
        asked = max(-(-current * int(share) // rules.up_above_percent), current + 1)
        return Decision(replicas=min(asked, current + rules.step_max, rules.max), reason="CPU", above_since=now)
    if below is not None and now - below >= timedelta(seconds=rules.down_after_seconds):
        if _settling(old.last_scale_time, rules, now):
            return Decision(replicas=current, reason="Stabilizing", below_since=below)
        return Decision(replicas=max(current - 1, rules.min), reason="CPU", below_since=now)
    return Decision(replicas=current, reason="CPU", above_since=above, below_since=below)


def _settling(scaled_at: datetime | None, rules: Autoscale, now: datetime) -> bool:
    return scaled_at is not None and now - scaled_at < timedelta(seconds=rules.stabilization_seconds)
