"""What a pass saw before it decided: plain values, no API objects."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from careforall_operator.status import Member


class DeploymentSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A Deployment with the label of a service."""

    name: str
    replicas: int
    ready: int = 0
    updated: int = 0
    ours: bool = False
    """Whether the operator owns `spec.replicas`."""


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What autoscaling goes by; None where it could not be read, and then nothing is changed."""

    lag: Mapping[str, int] | None = None
    """Messages waiting for each durable consumer."""
    cpu: Mapping[str, float] | None = None
    """Share of the requested CPU in use for each service, in percent."""
    p99: Mapping[str, float] | None = None
    """Milliseconds within which 99 of 100 answers of each service came."""


class JobSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A Job of ours."""

    name: str
    view: str = ""
    started: datetime | None = None
    finished: datetime | None = None
    succeeded: bool = False
    failed: bool = False


class CronJobSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A CronJob of ours as it is."""

    name: str
    body: Mapping[str, Any]
    made: datetime | None = None
    last_success: datetime | None = None


class PodRole(msgspec.Struct, frozen=True, kw_only=True):
    """A pod of the database with the role its label claims."""

    name: str
    role: str
    ready: bool
    address: str = ""
    claims: bool = False
    """Whether the member itself says that it is primary and runs."""


class ServiceSeen(msgspec.Struct, frozen=True, kw_only=True):
    """A Service of ours and what it selects."""

    name: str
    selector: Mapping[str, str]


class Fork(msgspec.Struct, frozen=True, kw_only=True):
    """Where a timeline ended, as the engine's history tells."""

    timeline: int
    wal_end: int
    successor: str | None = None
    """Who began the next one, where the engine tells."""


class ClusterSeen(msgspec.Struct, frozen=True, kw_only=True):
    """The database cluster as the engine tells it."""

    leader: str | None = None
    """Who holds the leader's lock."""
    leader_fresh: bool = False
    """Whether the lock is still alive."""
    target: str | None = None
    """Who is becoming primary, where the engine says so."""
    timeline: int | None = None
    """The leader's timeline."""
    wal_end: int | None = None
    """Where the leader's log ends."""
    members: tuple[Member, ...] = ()
    pods: tuple[PodRole, ...] = ()
    history: tuple[Fork, ...] = ()
    write_service: ServiceSeen | None = None
    """The write Service; None where it is not there, or somebody else's."""
    endpoints: tuple[str, ...] | None = None
    """Ready pods behind the write Service; None where nobody knows."""
    repairable: bool = False
    """Whether labels of pods may be taken away here."""


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """A heartbeat through the write Service."""

    at: datetime
    """When it was answered; one that was not written, when it was tried."""
    written: bool
    timeline: int | None = None
    wal_end: int | None = None
    cluster: str = ""
    """The database cluster's own identifier; empty where only the engine's word is known."""
    first: datetime | None = None
    """The first one that this timeline took, and that others soon followed."""
    before: datetime | None = None
    """The last one that the timeline before took; the database remembers both across restarts."""
    took: float = 0.0
    """Seconds that the write itself took, its wait for a standby included."""
    error: str = ""
