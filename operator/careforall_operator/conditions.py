"""Every condition and every reason it may have, and how the list of them is kept.

docs/reference/custom-resources.md lists them from here; a reason that is not listed here cannot be set.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Literal

from careforall_operator.status import Condition

Answer = Literal["True", "False", "Unknown"]

REASONS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Ready": (
        "Everything critical serves at the newest spec.",
        {
            "Serving": "All critical services are ready and writes are on, as far as asked for.",
            "BelowDesired": "A critical service has fewer ready pods than wanted.",
            "DatabaseUnavailable": "No primary takes writes, or not yet for long enough.",
            "Stalled": "Something must be mended by people; see Stalled.",
        },
    ),
    "Reconciling": (
        "Present only while pods are coming or going.",
        {"Rollout": "Pods of a new version are coming.", "Scaling": "The number of pods is changing."},
    ),
    "Stalled": (
        "Present only while the operator cannot go on by itself.",
        {
            "InvalidSpec": "The object asks for what the operator or the API server cannot understand; all else goes on.",
            "MissingDeployment": "A service of the spec has no Deployment with its label.",
            "MissingPodTemplate": "The PodTemplate of `spec.jobs` is not there, so that no Job can run.",
            "Forbidden": "The API server refuses the operator something its Role should allow.",
        },
    ),
    "ServicesAvailable": (
        "All services have the pods they should have.",
        {"AllReady": "They have.", "BelowDesired": "Some are missing; the message names them."},
    ),
    "ViewsFresh": (
        "Materialised views are as young as asked for.",
        {
            "Fresh": "All are.",
            "Stale": "One is older than its maxStalenessSeconds.",
            "RefreshFailing": "Three refreshes of one in a row failed.",
            "Suspended": "Refreshes are off while writes are off.",
        },
    ),
    "DatabaseAvailable": (
        "Exactly one primary is there.",
        {
            "PrimaryServing": "It is.",
            "Starting": "There was none yet.",
            "NoPrimary": "Nobody holds the leader's lock.",
            "MultiplePrimaries": "More than one member says it is primary, or carries its label.",
            "Unobservable": "The cluster could not be asked.",
        },
    ),
    "DatabaseRedundant": (
        "A standby could take over without losing anything.",
        {
            "SyncStandbyPresent": "It could.",
            "NoSyncStandby": "The primary waits for nobody.",
            "LagExceeded": "No standby is near enough.",
            "NotObserved": "The engine tells nothing about standbys, or not yet.",
        },
    ),
    "WritesEnabled": (
        "Services may write.",
        {
            "HeartbeatOk": "Heartbeats are written.",
            "Starting": "The database has taken no heartbeat yet.",
            "PrimaryLost": "No heartbeat could be written for too long.",
            "ReadOnlyRequested": "`spec.mode` asks for it.",
            "EpochMismatch": "A primary of an older timeline answers.",
            "Recovering": "Heartbeats are written again, not yet for long enough.",
        },
    ),
    "FailoverInProgress": (
        "A change of the primary is under way.",
        {
            "Detected": "The loss of the primary was noticed.",
            "Promoting": "The engine has not chosen yet.",
            "SwitchingEndpoint": "The write Service does not lead to the new primary alone yet.",
            "Reconciling": "The books are being compared.",
            "Idle": "None is.",
        },
    ),
    "ReconciliationSucceeded": (
        "The books agreed after the last failover.",
        {"JobSucceeded": "They did.", "JobFailed": "They did not, or the Job could not run.", "NotNeeded": "There was none."},
    ),
    "OldTimelineLeft": (
        "No service is connected to the timeline before the last failover.",
        {
            "AllLeft": "None is.",
            "StillConnected": "The pods in the message are, or do not answer.",
            "NotObserved": "They were not asked yet.",
            "NotNeeded": "There was no failover.",
        },
    ),
    "Paused": ("The operator only looks.", {"Paused": "`spec.paused` asks for it.", "Active": "It works."}),
    "GuardsPassed": (
        "Of a DatabaseSwitchover: nothing speaks against it.",
        {
            "Passed": "Nothing does.",
            "PlatformMissing": "There is no such Platform with a database.",
            "EngineCannotSwitch": "An External database is switched over elsewhere.",
            "Unobservable": "The cluster could not be asked.",
            "NoPrimary": "There is no primary to switch from.",
            "FailoverRunning": "Another change of the primary is under way.",
            "WritesOff": "Heartbeats are not written.",
            "NoSyncStandby": "No synchronous standby is there.",
            "LagExceeded": "The standby is too far behind.",
            "UnknownCandidate": "The candidate is no healthy replica of the cluster.",
            "PlatformPaused": "The operator only looks.",
        },
    ),
    "Complete": (
        "Of a DatabaseSwitchover: it is over.",
        {
            "Switched": "A new primary takes writes.",
            "Refused": "A guard spoke against it; nothing was touched.",
            "Running": "It is not over.",
            "DeadlineExceeded": "No new primary took writes in time.",
            "EngineRefused": "The engine said no.",
        },
    ),
}


class UnknownReason(KeyError):
    """A condition or reason that no page tells about."""


def condition(kind: str, status: Answer, reason: str, message: str, *, at: datetime, generation: int) -> Condition:
    """Return a condition that became so `at` this moment.

    Raises:
        UnknownReason: REASONS does not list it.
    """
    if kind not in REASONS or reason not in REASONS[kind][1]:
        raise UnknownReason(f"{kind}/{reason}")
    return Condition(
        type=kind, status=status, reason=reason, message=message, last_transition_time=at, observed_generation=generation
    )


def kept(before: Iterable[Condition], now: Iterable[Condition]) -> list[Condition]:
    """Return `now` in order of types; an answer that did not change keeps its time."""
    known = {one.type: one for one in before}
    return sorted((_dated(known.get(one.type), one) for one in now), key=lambda one: one.type)


def _dated(old: Condition | None, new: Condition) -> Condition:
    if old is None or old.status != new.status:
        return new
    return Condition(
        type=new.type,
        status=new.status,
        reason=new.reason,
        message=new.message,
        last_transition_time=old.last_transition_time,
        observed_generation=new.observed_generation,
    )
