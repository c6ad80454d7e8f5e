"""What people ask for: `Platform.spec` and `DatabaseSwitchover.spec`; CRDs and docs/reference/custom-resources.md are made of it.

Defaults and bounds are enforced by the API server, so that a pass may rely on them. A default here is for reading objects that an
older CRD let in.
"""

from datetime import datetime
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from careforall_operator.rules import CRON, FIXED, MOMENT, NAME, RELATION, VIEW, Rule, checked, named_list

Name = Annotated[str, Meta(pattern=NAME, max_length=40)]
ObjectName = Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=200)]
Owner = Literal["Operator", "HPA", "KEDA", "None"]
Mode = Literal["Normal", "ReadOnly", "Maintenance"]
EngineName = Literal["Patroni", "CloudNativePG", "External"]
SwitchoverKind = Literal["Drill", "Maintenance"]


class Model(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=False):
    """A part of an object; `RULES` hold for it as a whole."""

    RULES: ClassVar[tuple[Rule, ...]] = ()


class Scaling(Model, frozen=True, kw_only=True):
    """Who decides about the number of pods."""

    owner: Owner = "Operator"
    """With HPA or KEDA the operator lets go of the field; with None nobody's hand is moved."""


class Autoscale(Model, frozen=True, kw_only=True):
    """Bounds and signal of the operator's own autoscaling."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule("self.min <= self.max", "min must not be above max", ".min"),
        Rule(
            "self.metric != 'JetStreamLag' || size(self.consumers) > 0", "JetStreamLag needs the names of consumers", ".consumers"
        ),
        Rule("self.downBelowPercent < self.upAbovePercent", "downBelowPercent must be below upAbovePercent", ".downBelowPercent"),
    )

    min: Annotated[int, Meta(ge=1, le=200)] = 1
    """Fewest pods."""
    max: Annotated[int, Meta(ge=1, le=200)]
    """Most pods."""
    metric: Literal["JetStreamLag", "CPU", "P99"] = "CPU"
    """JetStreamLag counts messages that wait at the broker, CPU is the share of the requested CPU, P99 the slowest answers."""
    target: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    """Messages waiting for each pod (JetStreamLag); milliseconds that 99 of 100 answers may take (P99)."""
    consumers: Annotated[list[Annotated[str, Meta(max_length=128)]], Meta(max_length=16)] = []
    """Durable consumers whose waiting messages are added up (JetStreamLag)."""
    up_above_percent: Annotated[int, Meta(ge=1, le=100)] = 70
    """Share of the requested CPU above which pods are added (CPU)."""
    up_after_seconds: Annotated[int, Meta(ge=0, le=3600)] = 120
    """How long the share, or the answers' time, must have been above (CPU, P99)."""
    down_below_percent: Annotated[int, Meta(ge=0, le=99)] = 30
    """Share of the requested CPU, or of the target, below which a pod is taken away (CPU, P99)."""
    down_after_seconds: Annotated[int, Meta(ge=0, le=7200)] = 600
    """How long it must have been below (CPU, P99)."""
    stabilization_seconds: Annotated[int, Meta(ge=0, le=3600)] = 120
    """Least time between two changes that take pods away."""
    step_max: Annotated[int, Meta(ge=1, le=50)] = 4
    """Most pods added or taken away at once."""


class Service(Model, frozen=True, kw_only=True):
    """A Deployment labelled `careforall.dev/service=<name>`, made by the chart without replicas."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.scaling.owner != 'Operator' || has(self.replicas) || has(self.autoscale)",
            "with owner Operator give replicas or autoscale",
            ".replicas",
        ),
        Rule(
            "self.scaling.owner == 'Operator' || !has(self.autoscale)",
            "autoscale is the operator's: with another owner leave it out",
            ".autoscale",
        ),
    )

    name: Name
    """Value of the label `careforall.dev/service`."""
    scaling: Scaling = Scaling()
    """Who decides about the number of pods."""
    replicas: Annotated[int, Meta(ge=0, le=200)] | None = None
    """Fixed number of pods; with `autoscale` it is not used."""
    autoscale: Autoscale | None = None
    """Follow a signal instead of a fixed number."""
    degraded_replicas: Annotated[int, Meta(ge=0, le=200)] | None = None
    """Number of pods while writes are off."""
    critical: bool = True
    """Whether the platform counts as Ready only with this service."""


class Rush(Model, frozen=True, kw_only=True):
    """An announced event, such as a flash sale or a televised appeal."""

    name: Name
    """Name in events and of the pre-warm Job."""
    at: Annotated[datetime, MOMENT]
    """When the rush begins."""
    multiplier: Annotated[int, Meta(ge=1, le=50)] = 2
    """Times the usual number of pods."""
    lead_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 900
    """How long before `at` pods are added and caches are warmed."""
    duration_seconds: Annotated[int, Meta(ge=60, le=604_800)] = 3600
    """How long after `at` the pods stay."""
    services: Annotated[list[Name], Meta(max_length=32)] = []
    """Services that are raised; all that the operator scales when empty."""
    prewarm: bool = True
    """Run `careforall prewarm` once, at the beginning of the lead time."""


class View(Model, frozen=True, kw_only=True):
    """A materialised view and when it is refreshed."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.maxStalenessSeconds >= self.timeoutSeconds",
            "maxStalenessSeconds must not be below timeoutSeconds",
            ".maxStalenessSeconds",
        ),
    )

    name: Annotated[str, Meta(pattern=VIEW, max_length=63)]
    """What `careforall refresh-view` is asked for."""
    relation: Annotated[str, Meta(pattern=RELATION, max_length=127)] | None = None
    """`schema.view`, for people; the service that owns the view knows its own."""
    schedule: Annotated[str, Meta(max_length=100), CRON]
    """Cron schedule of five fields."""
    time_zone: Annotated[str, Meta(max_length=64)] = "UTC"
    """Zone of the schedule."""
    timeout_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 300
    """A refresh that takes longer is ended."""
    max_staleness_seconds: Annotated[int, Meta(ge=1, le=604_800)] = 900
    """Older than this the view counts as stale."""
    suspend_when_degraded: bool = True
    """No refreshes while writes are off."""


class SecretRef(Model, frozen=True, kw_only=True):
    """A Secret of the same namespace."""

    name: ObjectName
    """Its name."""


class CredentialsRef(Model, frozen=True, kw_only=True):
    """Where the DSN of the heartbeat lies."""

    name: ObjectName
    """Name of the Secret."""
    key: Annotated[str, Meta(max_length=253)] = "operator"
    """Its key with a DSN of a database of the operator's own, through the write Service."""


class PatroniTimes(Model, frozen=True, kw_only=True):
    """The times Patroni was set up with; the operator waits by them and never sets them."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.loopWaitSeconds + 2 * self.retryTimeoutSeconds <= self.ttlSeconds",
            "loopWaitSeconds + 2 * retryTimeoutSeconds must not be above ttlSeconds",
            ".ttlSeconds",
        ),
    )

    ttl_seconds: Annotated[int, Meta(ge=20, le=300)] = 20
    """Life of the leader's lock."""
    loop_wait_seconds: Annotated[int, Meta(ge=1, le=60)] = 2
    """Pause of Patroni's loop."""
    retry_timeout_seconds: Annotated[int, Meta(ge=3, le=60)] = 3
    """How long Patroni asks the API server again."""
    synchronous_mode: Literal["Off", "On", "Quorum"] = "On"
    """Off: nobody expects a synchronous standby, and switchovers do not ask for one."""


class DegradedRules(Model, frozen=True, kw_only=True):
    """When services are told that writes are off."""

    enter_after_seconds: Annotated[int, Meta(ge=1, le=300)] = 5
    """How long the database must have refused a write."""
    exit_after_seconds: Annotated[int, Meta(ge=1, le=300)] = 10
    """How long it must have taken every write."""
    flag_bucket: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$", max_length=64)] = "cfa-flags"
    """NATS key-value bucket with the key `degraded`."""


class Reconciliation(Model, frozen=True, kw_only=True):
    """The Job `careforall reconcile` after a failover."""

    enabled: bool = True
    """Whether it runs."""
    image: Annotated[str, Meta(max_length=500)] | None = None
    """Another image than the pod template's."""
    active_deadline_seconds: Annotated[int, Meta(ge=10, le=86_400)] = 1800
    """The Job is ended after this time and counts as failed."""


class Failover(Model, frozen=True, kw_only=True):
    """What follows a change of the primary."""

    reconciliation: Reconciliation = Reconciliation()
    """The Job that compares books after a failover."""
    report_history: Annotated[int, Meta(ge=1, le=10)] = 10
    """Reports kept in the status."""
    max_replica_lag_bytes: Annotated[int, Meta(ge=0)] = 16_777_216
    """Above this a replica does not count as a standby, and switchovers are refused."""


class Drills(Model, frozen=True, kw_only=True):
    """Planned switchovers on a schedule, to know that the real one works."""

    enabled: bool = False
    """Whether drills are made."""
    schedule: Annotated[str, Meta(max_length=100), CRON] = "0 3 1 * *"
    """Cron schedule of five fields; the default is the first night of each month."""
    time_zone: Annotated[str, Meta(max_length=64)] = "UTC"
    """Zone of the schedule."""
    window_seconds: Annotated[int, Meta(ge=60, le=86_400)] = 3600
    """A drill that could not begin within this time after its moment is left out."""


class Database(Model, frozen=True, kw_only=True):
    """The database cluster that holds the truth."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.engine != 'External' || has(self.credentialsSecretRef)",
            "External needs credentialsSecretRef",
            ".credentialsSecretRef",
        ),
        Rule(
            "self.engine != 'External' || !self.drills.enabled", "the operator cannot switch an External database over", ".drills"
        ),
    )

    engine: Annotated[EngineName, checked(FIXED)] = "Patroni"
    """Who elects primaries."""
    cluster_name: Annotated[str, Meta(pattern=NAME, max_length=40), checked(FIXED)]
    """Patroni's scope or the name of the CloudNativePG Cluster."""
    credentials_secret_ref: CredentialsRef | None = None
    """The heartbeat's DSN; without it the operator believes the engine."""
    rest_secret_ref: SecretRef | None = None
    """Key `rest-password`, also `rest-username` (`patroni` if not given): how Patroni is asked for switchovers."""
    write_service: ObjectName | None = None
    """Service of the primary; `<clusterName>-rw` if not given, whose selector is then kept where it is the chart's."""
    read_service: ObjectName | None = None
    """Service of the replicas; `<clusterName>-ro` if not given."""
    patroni: PatroniTimes = PatroniTimes()
    """How Patroni was set up."""
    degraded: DegradedRules = DegradedRules()
    """When writes count as off."""
    failover: Failover = Failover()
    """What follows a change of the primary."""
    drills: Drills = Drills()
    """Planned switchovers on a schedule."""


class Jobs(Model, frozen=True, kw_only=True):
    """Where the pods of Jobs and CronJobs get their shape."""

    pod_template: ObjectName = "careforall-jobs"
    """A PodTemplate of the same namespace, made by the chart; the command of its first container is replaced."""


class PlatformSpec(Model, frozen=True, kw_only=True):
    """What a platform should look like."""

    paused: bool = False
    """True: the operator only looks."""
    mode: Mode = "Normal"
    """What people want: ReadOnly and Maintenance tell services to refuse writes."""
    services: Annotated[list[Service], named_list(32)] = []
    """Deployments whose number of pods is managed."""
    events: Annotated[list[Rush], named_list(32)] = []
    """Announced rushes, for which pods are added ahead."""
    views: Annotated[list[View], named_list(64)] = []
    """Materialised views, one CronJob each, named `<platform>-refresh-<name>`."""
    jobs: Jobs = Jobs()
    """Where Jobs get their pods from."""
    database: Database | None = None
    """The database; without it failovers are not looked at."""


class SwitchoverSpec(Model, frozen=True, kw_only=True):
    """One planned change of the primary; it cannot be changed, only made anew."""

    RULES: ClassVar[tuple[Rule, ...]] = (Rule("self == oldSelf", "a switchover cannot be changed: make another one"),)

    platform_ref: SecretRef
    """The Platform whose database is switched."""
    candidate: Annotated[str, Meta(max_length=253)] | None = None
    """The next primary; the engine chooses if not given."""
    kind: SwitchoverKind = "Maintenance"
    """A drill is counted as one and may be made by schedule."""
    deadline_seconds: Annotated[int, Meta(ge=10, le=3600)] = 120
    """After this time without a new primary it has failed."""
    force: bool = False
    """Go on where only lag or a missing synchronous standby speak against it."""
