"""The operator's own autoscaling: quick up, slow down, in bounded steps, and never on a signal that could not be read."""

from datetime import datetime, timedelta

import msgspec

from careforall_operator.models import Autoscale
from careforall_operator.reconcile.observed import Signals
from careforall_operator.status import ServiceStatus

_WHOLE = 100


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """How many pods, why, and since when a signal has been beyond its limits."""

    replicas: int | None
    reason: str
    above_since: datetime | None = None
    below_since: datetime | None = None


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a signal is beyond its limits, and how many pods would be right where it is above."""

    over: bool
    under: bool
    asked: int


def follow(name: str, rules: Autoscale, current: int, old: ServiceStatus, signals: Signals, *, now: datetime) -> Decision:
    """Return the number of pods that the signal asks for, from the current number on."""
    inside = min(max(current, rules.min), rules.max)
    if rules.metric == "JetStreamLag":
        return _by_lag(rules, inside, old, signals, now)
    known = signals.cpu if rules.metric == "CPU" else signals.p99
    value = None if known is None else known.get(name)
    if value is None:
        return Decision(replicas=inside, reason="SignalMissing")
    if rules.metric == "CPU":
        # What would bring the share back under the limit.
        asked = max(-(-inside * int(value) // rules.up_above_percent), inside + 1)
        limits = Limits(over=value > rules.up_above_percent, under=value < rules.down_below_percent, asked=asked)
        return _by_limits(rules, inside, old, limits, now)
    share = 100 * value / rules.target
    asked = inside + max(inside // 2, 1)  # how much more pods help slow answers is not known, so by half again
    limits = Limits(over=share > _WHOLE, under=share < rules.down_below_percent, asked=asked)
    return _by_limits(rules, inside, old, limits, now)


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


def _by_limits(rules: Autoscale, current: int, old: ServiceStatus, limits: Limits, now: datetime) -> Decision:
    """Add pods after a while above the limit, take one away after a while below the other."""
    above = (old.above_since or now) if limits.over else None
    below = (old.below_since or now) if limits.under else None
    if above is not None and now - above >= timedelta(seconds=rules.up_after_seconds):
        # The count starts anew, for the new pods must show first.
        return Decision(replicas=min(limits.asked, current + rules.step_max, rules.max), reason=rules.metric, above_since=now)
    if below is not None and now - below >= timedelta(seconds=rules.down_after_seconds):
        if _settling(old.last_scale_time, rules, now):
            return Decision(replicas=current, reason="Stabilizing", below_since=below)
        return Decision(replicas=max(current - 1, rules.min), reason=rules.metric, below_since=now)
    return Decision(replicas=current, reason=rules.metric, above_since=above, below_since=below)


def _settling(scaled_at: datetime | None, rules: Autoscale, now: datetime) -> bool:
    return scaled_at is not None and now - scaled_at < timedelta(seconds=rules.stabilization_seconds)
