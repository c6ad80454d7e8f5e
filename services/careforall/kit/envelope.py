"""The envelope of every message between services, and how payload Structs become bytes and back.

An event type is a frozen Struct whose class attributes `SUBJECT` and `VERSION` name it on the wire. Consumers ignore unknown
fields; an unknown version is parked by the consumer runner, never guessed.
"""

from datetime import UTC, datetime
from typing import ClassVar, Generic, NamedTuple, TypeVar
from uuid import UUID

import msgspec

from careforall.kit.context import Cause


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all events and commands."""

    SUBJECT: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1


E = TypeVar("E", bound=Event)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """What travels: who says what about which aggregate, and why (see `correlation_id`, `traceparent`)."""

    event_id: UUID
    event_type: str
    version: int
    aggregate_id: UUID
    aggregate_version: int
    occurred_at: datetime
    correlation_id: str
    source: str
    payload: msgspec.Raw
    saga_id: UUID | None = None
    traceparent: str | None = None


class Message(msgspec.Struct, Generic[E], frozen=True, kw_only=True):
    """A decoded envelope handed to a consumer: the typed event with its place in history."""

    event_id: UUID
    event_type: str
    version: int
    aggregate_id: UUID
    aggregate_version: int
    occurred_at: datetime
    correlation_id: str
    source: str
    traceparent: str | None
    event: E
    data: bytes
    """The envelope exactly as it travelled."""

    @property
    def cause(self) -> Cause:
        """What events caused by this message carry on."""
        return Cause(correlation_id=self.correlation_id, traceparent=self.traceparent)


class Posted(NamedTuple):
    """A sealed envelope on its way to the broker; `traceparent` travels as a header, for who receives it to go on from."""

    subject: str
    message_id: str
    payload: bytes
    traceparent: str | None = None


TRACEPARENT = "traceparent"
"""The name of that header."""
_envelope_decoder = msgspec.json.Decoder(Envelope)
_encode = msgspec.json.Encoder(decimal_format="string").encode


def decode_envelope(data: bytes) -> Envelope:
    """Decode the outer envelope; the payload stays raw.

    Raises:
        msgspec.ValidationError: If it is not an envelope.
    """
    return _envelope_decoder.decode(data)


def seal(
    event: Event,
    *,
    subject: str,
    event_id: UUID,
    aggregate_id: UUID,
    aggregate_version: int,
    source: str,
    correlation_id: str,
    traceparent: str | None = None,
    occurred_at: datetime | None = None,
) -> bytes:
    """Return the exact bytes that are stored in the outbox and published unchanged."""
    return _encode(
        Envelope(
            event_id=event_id,
            event_type=subject,
            version=event.VERSION,
            aggregate_id=aggregate_id,
            aggregate_version=aggregate_version,
            occurred_at=occurred_at or datetime.now(UTC),
            correlation_id=correlation_id,
            source=source,
            payload=msgspec.Raw(_encode(event)),
            saga_id=getattr(event, "saga_id", None),
            traceparent=traceparent,
        )
    )
