"""What the operator found and did: `Platform.status` and `DatabaseSwitchover.status`, also its only memory across restarts."""

from datetime import datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from careforall_operator.models import Model
from careforall_operator.rules import MOMENT, named_list

Moment = Annotated[datetime, MOMENT]
Phase = Literal["Pending", "Progressing", "Ready", "Degraded", "FailingOver", "ReadOnly", "Paused", "Stalled"]
Result = Literal["InProgress", "Succeeded", "ReconciliationFailed"]
SwitchoverPhase = Literal["Pending", "Refused", "Running", "Succeeded", "Failed"]


class Condition(Model, frozen=True, kw_only=True):
    """One answer, with the reason and since when."""

    type: Annotated[str, Meta(max_length=316)]
    """What is asked."""
    status: Literal["True", "False", "Unknown"]
    """The answer."""
    reason: Annotated[str, Meta(max_length=1024)]
    """Why, in one word; docs/reference/custom-resources.md lists them."""
    message: Annotated[str, Meta(max_length=32768)] = ""
    """Why, for people."""
    last_transition_time: Moment
    """When the answer changed."""
    observed_generation: int = 0
    """Which version of the spec was looked at."""


class ServiceStatus(Model, frozen=True, kw_only=True):
    """What became of one service."""

    name: str
    """As in the spec."""
    owner: str = "Operator"
    """Who decides about the number of pods."""
    desired: int | None = None
    """Pods wanted; unknown where another owner decides."""
    ready: int = 0
    """Pods that are ready."""
    updated: int = 0
    """Pods of the newest version."""
    reason: str = ""
    """Why this number."""
    last_scale_time: Moment | None = None
    """When the number was changed by a signal."""
    above_since: Moment | None = None
    """Since when the CPU has been above its limit."""
    below_since: Moment | None = None
    """Since when the CPU has been below its limit."""


class ViewStatus(Model, frozen=True, kw_only=True):
    """What became of one view's refreshes."""

    name: str
    """As in the spec."""
    last_success_time: Moment | None = None
    """When a refresh ended well."""
    last_duration_seconds: int | None = None
    """How long that took."""
    staleness_seconds: int | None = None
    """Age of the newest refresh, or of the CronJob as long as none ended well, rounded down to the minute."""
    consecutive_failures: int = 0
    """Refreshes that failed since then."""
    suspended: bool = False
    """Whether refreshes are off."""


class EventStatus(Model, frozen=True, kw_only=True):
    """What became of an announced rush."""

    name: str
    """As in the spec."""
    phase: Literal["Announced", "Leading", "Running", "Over"]
    """Where it is."""
    prewarm_job: str | None = None
    """The Job that warmed the caches."""


class Member(Model, frozen=True, kw_only=True):
    """A member of the database cluster."""

    name: str
    """Its name, the pod's where there are pods."""
    role: str
    """primary or replica, as the engine says."""
    state: str = ""
    """The engine's word for its state."""
    timeline: int | None = None
    """Its timeline."""
    lag_bytes: int | None = None
    """How far it is behind the primary."""
    sync: bool = False
    """Whether the primary waits for it."""


class FailoverReport(Model, frozen=True, kw_only=True):
    """What a change of the primary cost, with all times as the operator saw them."""

    id: str
    """`timeline-<number>`."""
    planned: bool = False
    """Whether a switchover was asked for."""
    reason: str = ""
    """What was noticed first."""
    old_primary: str | None = None
    """Who was primary."""
    new_primary: str | None = None
    """Who is."""
    timeline: int | None = None
    """The new timeline."""
    start_time: Moment
    """The last write that was surely taken before."""
    detect_time: Moment | None = None
    """When the loss was noticed."""
    promote_time: Moment | None = None
    """When the new primary was seen."""
    endpoint_time: Moment | None = None
    """When the write Service led to it alone."""
    write_time: Moment | None = None
    """The first write that was taken after."""
    left_time: Moment | None = None
    """When no service was connected to the timeline before any more."""
    detect_seconds: float | None = None
    """From start to detection."""
    promote_seconds: float | None = None
    """From start to the new primary."""
    endpoint_seconds: float | None = None
    """From start until the write Service led there."""
    rto_seconds: float | None = None
    """From start to the first write."""
    left_seconds: float | None = None
    """From start until no service was connected to the timeline before."""
    wal_end_before: int | None = None
    """Where the old primary's log ended when it was last seen; bytes from its beginning."""
    lost_bytes_estimate: int | None = None
    """WAL of the old primary that the new one does not have; 0 means nothing is missing."""
    sync_before: bool | None = None
    """Whether a synchronous standby was there."""
    reconciliation_job: str | None = None
    """The Job that compared the books."""
    result: Result = "InProgress"
    """How it ended."""


class DatabaseStatus(Model, frozen=True, kw_only=True):
    """What is known about the database."""

    engine: str
    """Who elects."""
    current_primary: str | None = None
    """Who is primary."""
    target_primary: str | None = None
    """Who is becoming it; differs from the current one while a change is under way."""
    timeline: int | None = None
    """The highest timeline seen."""
    epoch: int = 0
    """Never falls: the timeline, also across a restored cluster."""
    writable: bool = False
    """Whether the last heartbeat was written."""
    sync_state: Literal["Sync", "Async", "Unknown"] = "Unknown"
    """Whether a synchronous standby is there."""
    replicas: Annotated[list[Member], named_list(64)] = msgspec.field(default_factory=list)
    """All members, the primary among them."""
    last_heartbeat_time: Moment | None = None
    """The last heartbeat that was written, at most ten seconds old while all is well."""
    good_since: Moment | None = None
    """Since when every heartbeat was written."""
    bad_since: Moment | None = None
    """Since when no heartbeat was written."""
    wal_end: int | None = None
    """Where the primary's log ended when it was last seen; bytes from its beginning."""
    pods_behind: Annotated[list[str], Meta(max_length=16)] = msgspec.field(default_factory=list)
    """Pods of services that are connected to an older timeline yet, or do not answer."""
    last_drill_time: Moment | None = None
    """The last moment of the drills' schedule that was acted upon."""
    last_failover: FailoverReport | None = None
    """The newest change of the primary."""
    failover_history: Annotated[list[FailoverReport], Meta(max_length=10)] = msgspec.field(default_factory=list)
    """Newest first."""


class Degraded(Model, frozen=True, kw_only=True):
    """Whether services refuse writes."""

    active: bool = False
    """Whether they do."""
    since: Moment | None = None
    """Since when."""
    reason: str = ""
    """Why."""


class PlatformStatus(Model, frozen=True, kw_only=True):
    """All that is known."""

    observed_generation: int = 0
    """Which version of the spec this is about."""
    phase: Phase = "Pending"
    """For people only: programs read the conditions."""
    conditions: Annotated[
        list[Condition],
        Meta(max_length=32, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = msgspec.field(default_factory=list)
    """Answers to lasting questions."""
    services: Annotated[list[ServiceStatus], named_list(32)] = msgspec.field(default_factory=list)
    """One entry each."""
    views: Annotated[list[ViewStatus], named_list(64)] = msgspec.field(default_factory=list)
    """One entry each."""
    events: Annotated[list[EventStatus], named_list(32)] = msgspec.field(default_factory=list)
    """One entry each."""
    database: DatabaseStatus | None = None
    """The database cluster."""
    degraded: Degraded = Degraded()
    """Whether services refuse writes."""
    ready_services: str = ""
    """Ready of all, such as 7/8."""
    operator_version: str = ""
    """Who wrote this."""


class SwitchoverStatus(Model, frozen=True, kw_only=True):
    """How a switchover went."""

    observed_generation: int = 0
    """Always 1: the spec cannot change."""
    phase: SwitchoverPhase = "Pending"
    """Where it is."""
    conditions: Annotated[
        list[Condition],
        Meta(max_length=8, extra_json_schema={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
    ] = msgspec.field(default_factory=list)
    """`GuardsPassed` and `Complete`."""
    requested_time: Moment | None = None
    """When the engine was asked."""
    from_timeline: int | None = None
    """The timeline before."""
    report: FailoverReport | None = None
    """What it cost."""
