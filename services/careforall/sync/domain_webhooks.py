"""What integrators are told, without I/O: the event as they see it, who wants it, and what an endpoint's reply means."""

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

import msgspec

DeliveryStatus = Literal["PENDING", "PROCESSED", "FAILED", "DEAD", "ENDED"]
"""FAILED is tried again, DEAD was given up on, ENDED because its endpoint was disabled."""
DisabledReason = Literal["staff", "gone"]
EVERYTHING = "*"
TEST = "webhooks.test"
KEPT_DAYS = 30
LARGEST = 2**63 - 1
"""Beyond any number of an event."""
_GONE, _OK, _REDIRECT = 410, 200, 300
_LONGEST_PAUSE = 86_400.0


class PublicEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event as integrators get it, by webhook and in the list alike: the very same bytes."""

    id: UUID
    type: str
    timestamp: datetime
    object_id: UUID
    sequence: int
    """Version of the object after the event: of two events of an object the later has the higher one."""
    data: msgspec.Raw


class StoredEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event with its place in the list."""

    number: int
    body: bytes


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What a reader gets: events in order, the place they have reached, and the newest event there is."""

    events: list[StoredEvent]
    reached: int
    newest: int


def is_readable(after: int, *, pruned: int, last: int) -> bool:
    """Whether all events after a place are still there; a place that was never reached belongs to another database."""
    return pruned <= after <= last


class Endpoint(msgspec.Struct, frozen=True, kw_only=True):
    """Where an integrator hears, and of what."""

    id: UUID
    url: str
    event_types: tuple[str, ...]
    description: str
    enabled: bool
    disabled_reason: DisabledReason | None
    disabled_at: datetime | None
    version: int
    created_at: datetime
    updated_at: datetime
    replay_after: int | None = None
    """The number up to which a replay has come; None where none is under way."""

    def wants(self, event_type: str) -> bool:
        """Whether it is to hear of an event."""
        return self.enabled and (EVERYTHING in self.event_types or event_type in self.event_types)


class Secret(msgspec.Struct, frozen=True, kw_only=True):
    """What a signing secret is made of; `number` counts an endpoint's secrets."""

    endpoint_id: UUID
    number: int
    salt: bytes
    ends_at: datetime | None


class Delivery(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to an endpoint."""

    id: UUID
    event_id: UUID
    event_type: str
    test: bool
    status: DeliveryStatus
    attempts: int
    next_retry_at: datetime
    status_code: int | None
    error_message: str | None
    created_at: datetime
    processed_at: datetime | None


class Draft(msgspec.Struct, frozen=True, kw_only=True):
    """A delivery to be made; without a number it is a test with a body of its own."""

    id: UUID
    endpoint_id: UUID
    event_number: int | None
    event_id: UUID
    event_type: str
    traceparent: str | None = None
    test_body: bytes | None = None


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A leased delivery, ready to be posted; `attempt` tells its lease from later ones."""

    id: UUID
    endpoint_id: UUID
    endpoint_version: int
    url: str
    event_id: UUID
    body: bytes
    attempt: int
    retry_count: int
    traceparent: str | None
    salts: tuple[bytes, ...] = ()


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a post: a status, or why there is none."""

    status: int | None = None
    error: str = ""
    retry_after: float | None = None

    @property
    def gone(self) -> bool:
        """Whether the endpoint wants to hear nothing any more."""
        return self.status == _GONE


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What to note on a delivery; the late word of a lease that has ended counts for nothing."""

    id: UUID
    attempt: int
    status: DeliveryStatus
    delay: float = 0.0
    status_code: int | None = None
    error: str | None = None


def verdict(post: Post, reply: Reply, pauses: Sequence[float], jitter: float) -> Verdict:
    """Return what a reply means: 2xx is heard, 410 the end, all else comes again after each of the pauses, and then no more.

    `jitter` is between 0 and 1 and moves a pause by a tenth; an endpoint that names a time is not asked before, up to a day.
    """
    noted: dict[str, Any] = {"id": post.id, "attempt": post.attempt, "status_code": reply.status}
    if reply.status is not None and _OK <= reply.status < _REDIRECT:
        return Verdict(**noted, status="PROCESSED")
    error = reply.error or f"answered {reply.status}"
    if reply.gone:
        return Verdict(**noted, status="ENDED", error=error)
    if post.retry_count >= len(pauses):
        return Verdict(**noted, status="DEAD", error=error)
    pause = pauses[post.retry_count] * (0.9 + jitter / 5)
    delay = max(pause, min(reply.retry_after or 0.0, _LONGEST_PAUSE))
    return Verdict(**noted, status="FAILED", delay=delay, error=error)


def signing_key(root: bytes, salt: bytes) -> bytes:
    """Return the key of a secret: neither the root secret nor the database alone gives it away."""
    return hmac.digest(root, salt, "sha256")


def fan_out(
    events: Iterable[tuple[int, UUID, str]],
    endpoints: Sequence[Endpoint],
    make_id: Callable[[], UUID],
    traces: Mapping[UUID, str | None] = {},
) -> list[Draft]:
    """Return a delivery of each event (number, id, type) to each endpoint that wants it, in the trace of the event."""
    return [
        Draft(
            id=make_id(),
            endpoint_id=endpoint.id,
            event_number=number,
            event_id=event_id,
            event_type=event_type,
            traceparent=traces.get(event_id),
        )
        for number, event_id, event_type in events
        for endpoint in endpoints
        if endpoint.wants(event_type)
    ]
