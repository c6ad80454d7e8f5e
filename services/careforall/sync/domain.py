"""Rules of the mirror without I/O: which call comes next, what its outcome means, whose change counts."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

CallKind = Literal["create", "update", "delete"]
EventType = Literal["customer.created", "customer.updated", "customer.deleted"]
DeliveryStatus = Literal["PENDING", "PROCESSED", "FAILED", "DEAD"]
_LONGEST_PAUSE = 3600.0
_STEP = 4.0


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What is mirrored of a customer."""

    email: str
    name: str = ""
    metadata: Mapping[str, str] = {}


class Customer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer; one that is deleted has no content any more."""

    id: UUID
    email: str
    name: str
    metadata: dict[str, str]
    version: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None = None
    external_ids: dict[str, str] = {}

    @property
    def content(self) -> Content:
        """What is mirrored."""
        return Content(email=self.email, name=self.name, metadata=self.metadata)


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One call to a target, kept until it has an answer, so that a repeat says exactly the same under the same key."""

    kind: CallKind
    version: int
    number: int = 1
    """Counts the keys spent on this version: a key whose answer is a failure for good is of no more use."""
    content: Content | None = None
    removed: tuple[str, ...] = ()
    """Metadata the target still has and must forget."""

    def key(self, customer_id: UUID) -> str:
        """Return the idempotency key: `customer id : version`, and its number where it is not the first."""
        return f"{customer_id}:{self.version}" + (f":{self.number}" if self.number > 1 else "")


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """What is on its way to a target about one customer."""

    id: UUID
    aggregate_id: UUID
    version: int
    carried_version: int
    noted_version: int
    carried: Content | None
    external_id: str | None
    payload: Call | None
    keyed_version: int
    key_number: int
    attempt: int
    retry_count: int
    max_retries: int
    told_at: datetime | None
    traceparent: str | None
    """The trace of the newest change."""
    old: bool
    """The unanswered call was first made so long ago that its key may be forgotten."""


def next_call(delivery: Delivery, customer: Customer) -> Call | None:
    """Return the call to make: the unanswered one, else the customer's newest version; None where nothing is there to delete."""
    if delivery.payload is not None:
        return delivery.payload
    number = delivery.key_number + 1 if delivery.keyed_version == customer.version else 1
    if customer.deleted_at is not None:
        return Call(kind="delete", version=customer.version, number=number) if delivery.external_id else None
    held = delivery.carried.metadata if delivery.carried else {}
    return Call(
        kind="update" if delivery.external_id else "create",
        version=customer.version,
        number=number,
        content=customer.content,
        removed=tuple(sorted(held.keys() - customer.metadata.keys())),
    )


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """The target holds it; `external_id` is the name it gave to what was created."""

    external_id: str | None = None


class Later(msgspec.Struct, frozen=True, kw_only=True):
    """No answer, or one that may be another later: the same call is made again."""

    error: str
    retry_after: float = 0.0
    counted: bool = True
    """False where no delivery is at fault: a rate limit, a key of ours that is not accepted."""


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """Nothing came of the call, and its key will never be answered otherwise: the same call is made under the next."""

    error: str


class Gone(msgspec.Struct, frozen=True, kw_only=True):
    """What was to be changed is not there any more."""


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """The target will never do this."""

    error: str


Outcome = Done | Later | Spent | Gone | Refused


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to note on a delivery after a call; `attempt` keeps the late word of a lease that has ended from counting."""

    id: UUID
    attempt: int
    version: int
    status: DeliveryStatus
    done: bool = False
    forget: bool = False
    """The target has lost its object: it is to be created anew."""
    external_id: str | None = None
    carried: Content | None = None
    payload: Call | None = None
    renewed: bool = False
    counted: bool = False
    delay: float = 0.0
    error: str | None = None


def verdict(delivery: Delivery, call: Call, outcome: Outcome, *, first_pause: float, jitter: float) -> Verdict:
    """Return what the outcome of a call means for its delivery; `jitter` is between 0 and 1."""
    noted: dict[str, Any] = {"id": delivery.id, "attempt": delivery.attempt, "version": call.version}
    match outcome:
        case Gone() if call.kind == "delete":
            return Verdict(**noted, status="PROCESSED", done=True)
        case Gone():
            return Verdict(**noted, status="PENDING", forget=True)
        case Done(external_id=external_id):
            return Verdict(**noted, status="PROCESSED", done=True, external_id=external_id, carried=call.content)
        case Refused(error=error):
            return Verdict(**noted, status="DEAD", counted=True, error=error)
        case Spent(error=error):
            renewed = msgspec.structs.replace(call, number=call.number + 1)
            again = _again(delivery, error, counted=True)
            return Verdict(**noted, **again, payload=renewed, renewed=True, delay=pause(0, first_pause, jitter))
        case Later(error=error, counted=counted, retry_after=retry_after):
            delay = max(retry_after, pause(delivery.retry_count, first_pause, jitter))
            return Verdict(**noted, **_again(delivery, error, counted=counted), payload=call, delay=min(delay, _LONGEST_PAUSE))


def _again(delivery: Delivery, error: str, *, counted: bool) -> dict[str, Any]:
    dead = counted and delivery.retry_count + 1 >= delivery.max_retries
    return {"status": "DEAD" if dead else "FAILED", "counted": counted, "error": error}


def pause(retries: int, first: float, jitter: float) -> float:
    """Return the seconds before the next try: four times as long each time, at most an hour, between half and all of it."""
    return min(first * _STEP ** min(retries, 10), _LONGEST_PAUSE) * (0.5 + jitter / 2)


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a target says happened to one of its objects."""

    event_id: str
    event_type: str
    external_id: str
    at: datetime
    deleted: bool = False
    customer_id: UUID | None = None
    noted_version: int | None = None
    """Whom and which version our note in the object names; None where somebody has removed it."""
    content: Content | None = None
    flaw: str = ""
    """Why it is not judged at all: another mode, another kind of event."""


Judgement = Literal[
    "apply",
    "delete",
    "recreate",
    "wait",
    "own_change",
    "stale_version",
    "newer_here",
    "older_than_known",
    "unknown_version",
]


def judge(told: Told, delivery: Delivery, *, deleted_here: bool) -> Judgement:
    """Decide whose change counts, and whether this is only the echo of our own.

    The note in the object names the version we carried last. An older note is from before that call, a newer one from a call
    whose answer we have not noted yet. With the present note, other content than we left there is a change of the target's.
    """
    return next(judgement for holds, judgement in _judgements(told, delivery, deleted_here=deleted_here) if holds)


def _judgements(told: Told, delivery: Delivery, *, deleted_here: bool) -> Iterator[tuple[bool, Judgement]]:
    """Yield what may be the case and what then follows; the first that holds counts."""
    noted = delivery.noted_version if told.noted_version is None else told.noted_version
    yield deleted_here, "own_change"
    yield told.deleted, _judged_deletion(delivery)
    yield noted < delivery.noted_version, "stale_version"
    yield noted > delivery.noted_version, _judged_early(told, delivery.payload)
    yield told.content == delivery.carried, "own_change"
    yield delivery.version > delivery.carried_version, "newer_here"
    yield delivery.told_at is not None and told.at < delivery.told_at, "older_than_known"
    yield True, "apply"


def _judged_early(told: Told, call: Call | None) -> Judgement:
    """Judge what carries the note of a call whose answer we have not noted yet."""
    if call is None:
        return "unknown_version"
    return "own_change" if told.content == call.content else "wait"


def _judged_deletion(delivery: Delivery) -> Judgement:
    if delivery.payload is not None:
        return "wait"
    return "recreate" if delivery.version > delivery.carried_version else "delete"
