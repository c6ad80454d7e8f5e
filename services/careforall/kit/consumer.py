"""The batch consumer: many messages, one transaction with their inbox rows, acknowledgement after COMMIT.

A handler gets a list of typed messages and the open transaction. It returns, and the effects are committed; it raises, and the
batch is halved until the culprit stands alone, which is retried with back-off and finally becomes a dead letter with its reason.
Losing PostgreSQL or NATS never counts as an attempt: the batch is held until they are back.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import msgspec
import structlog
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, NotFoundError
from opentelemetry.trace import Span

from careforall.kit import crash, inbox
from careforall.kit.bus import Bus
from careforall.kit.courtesy import Courtesy
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import TRACEPARENT, Envelope, Event, Message, decode_envelope
from careforall.kit.errors import PASSING, Locked, TooSlow, Unavailable
from careforall.kit.ids import born_at
from careforall.kit.metrics import CONSUMED, CONSUMER_BATCH, CONSUMER_LAG
from careforall.kit.pulling import Puller, delivery_of
from careforall.kit.tracing import Tracing, fail

log = structlog.get_logger(__name__)

Handler = Callable[[Connection, Sequence[Message[Any]]], Awaitable[None]]
"""Applies a batch in the given transaction: one service call, no acknowledgement, no decoding."""

ADVISORY = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES"
INBOX_HORIZON = timedelta(days=30)
_ACK_WAIT = 10.0
"""Bounds how long messages lie idle after their process was killed; repeats meet the inbox, long waits say `in_progress`."""
_PARK_SECONDS = 3600.0
_FETCH_WAIT = 5.0
_ADVISORIES = 20
_MAX_DELIVER = 20
_GIVEN_UP = "max_deliveries: the process died or hung under it, or its rows were held by others, again and again"
_LONGEST_CONTENTION = 60.0
"""Rows may be held, or a database be slow, for some ten minutes before the broker has delivered a message too often."""
_GATHER = 0.05
"""Seconds in which messages gather after a batch that was not full: a transaction costs almost the same for one as for many."""


class Park(Exception):
    """Raised by a handler whose message is too early; it comes again after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"parked for {seconds} s")
        self.seconds = seconds


class AnyEvent(Event, frozen=True, kw_only=True):
    """Stands for every event type, for consumers of history such as the audit log, who keep it as it travelled."""

    payload: msgspec.Raw


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """A durable consumer: which events of which stream go to which function."""

    name: str
    stream: str
    events: tuple[type[Event], ...]
    handler: Handler
    batch: int = 256
    attempts: int = 3
    patience: float | None = None
    """Seconds that a message may wait while requests go first (see kit/courtesy.py); None: as long as the settings allow."""
    subjects: tuple[str, ...] = ()
    """Only for `AnyEvent`: the subjects to hear."""

    def filters(self) -> list[str]:
        """Return the subject filters of the durable."""
        return list(self.subjects) or [event.SUBJECT for event in self.events]


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """A message that will not be given to the handler, and why; `park` delays it instead."""

    reason: str
    park: bool = False


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """A decoded message together with the broker's handle for acknowledging it."""

    message: Message[Any]
    handle: Msg
    span: Span | None = None


class Decoder:
    """Turns broker messages into typed ones, refusing what must never be applied."""

    def __init__(self, consumer: Consumer) -> None:
        self._any = AnyEvent in consumer.events
        self._types = {event.SUBJECT: event for event in consumer.events}
        self._decoders = {name: msgspec.json.Decoder(kind) for name, kind in self._types.items()}

    def decode(self, data: bytes, *, deliveries: int) -> Message[Any] | Refusal:
        """Decode one message."""
        try:
            envelope = decode_envelope(data)
            if refusal := self._refuse(envelope, deliveries):
                return refusal
            return _message(envelope, self._event(envelope), data)
        except msgspec.MsgspecError as error:
            return Refusal(reason=f"undecodable: {error}")

    def _refuse(self, envelope: Envelope, deliveries: int) -> Refusal | None:
        born = born_at(envelope.event_id)
        if born is not None and born < datetime.now(UTC) - INBOX_HORIZON:
            return Refusal(reason="beyond_horizon: older than the inbox remembers, never applied")
        kind = self._types.get(envelope.event_type)
        if self._any or (kind is not None and envelope.version == kind.VERSION):
            return None
        reason = f"unknown version {envelope.version} of {envelope.event_type}"
        return Refusal(reason=reason, park=deliveries <= 1)

    def _event(self, envelope: Envelope) -> Event:
        return AnyEvent(payload=envelope.payload) if self._any else self._decoders[envelope.event_type].decode(envelope.payload)


def _message(envelope: Envelope, event: Event, data: bytes) -> Message[Any]:
    return Message(
        event_id=envelope.event_id,
        event_type=envelope.event_type,
        version=envelope.version,
        aggregate_id=envelope.aggregate_id,
        aggregate_version=envelope.aggregate_version,
        occurred_at=envelope.occurred_at,
        correlation_id=envelope.correlation_id,
        source=envelope.source,
        traceparent=envelope.traceparent,
        event=event,
        data=data,
    )


def _sent(message: Message[Any], handle: Msg) -> Message[Any]:
    """Return a message as caused by the span of its sending, where that was traced."""
    traceparent = handle.headers.get(TRACEPARENT) if handle.headers else None
    return msgspec.structs.replace(message, traceparent=traceparent) if traceparent else message


async def apply(connection: Connection, consumer: Consumer, messages: Sequence[Message[Any]]) -> int:
    """Claim messages in the inbox and apply those that are new, in the caller's transaction; return how many were new."""
    fresh = await inbox.claim(connection, consumer.name, [message.event_id for message in messages])
    new = {message.event_id: message for message in messages if message.event_id in fresh}
    if new:  # by id: the same event may also come twice in one batch
        await consumer.handler(connection, list(new.values()))
    return len(new)


def _is_contention(error: Exception) -> bool:
    """Whether rows were held by somebody else or the database was slow: no fault of the message, no attempt is counted (rule 7).

    A message that always takes too long, and so is at fault itself, ends by the broker's own count.
    """
    return isinstance(error, Locked | TooSlow) or (
        isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith("40")
    )


def _after_contention(deliveries: int) -> float:
    """Return the seconds before a message comes again, longer each time: the broker counts deliveries."""
    return min(_LONGEST_CONTENTION, 2.0 ** (deliveries - 1)) * random.uniform(0.2, 1.0)  # noqa: S311 - jitter, not a secret


class Runner:
    """Runs one consumer until cancelled."""

    def __init__(
        self, consumer: Consumer, database: Database, bus: Bus, tracing: Tracing, *, courtesy: Courtesy | None = None
    ) -> None:
        self.consumer = consumer
        self._courtesy = courtesy or Courtesy(0)
        self._database = database
        self._bus = bus
        self._tracing = tracing
        self._decoder = Decoder(consumer)
        self._sizes = CONSUMER_BATCH.labels(consumer=consumer.name)
        self._lag = CONSUMER_LAG.labels(consumer=consumer.name)

    async def run(self) -> None:
        """Fetch, apply, acknowledge, for ever; reconnect as often as needed."""
        while True:
            try:
                await self._bus.when_ready()
                await self._bus.ensure_consumer(self.consumer.stream, self._config())
                await self._consume()
            except (TimeoutError, NatsError, APIError, *PASSING, asyncpg.PostgresError, OSError) as error:
                log.info("consumer pauses", consumer=self.consumer.name, error=repr(error))
                await asyncio.sleep(random.uniform(0.1, 0.5))  # noqa: S311 - jitter, not a secret

    async def redrive(self) -> int:
        """Apply dead letters whose retry was asked for; return how many succeeded."""
        rows = await self._database.fetch(inbox.RETRIES, self.consumer.name)
        return sum([await self._redrive_one(row["id"], row["payload"]) for row in rows])

    async def hear_advisories(self, stream: str) -> None:
        """Keep the messages that the broker gave up on because processes died under them again and again.

        The broker says so once, on a subject that `stream` captures, so that it is heard also by whoever was down.
        """
        name = f"{self.consumer.name}-given-up"
        subject = f"{ADVISORY}.{self.consumer.stream}.{self.consumer.name}"
        config = ConsumerConfig(durable_name=name, ack_policy=AckPolicy.EXPLICIT, filter_subjects=[subject])
        while True:
            try:
                await self._bus.when_ready()
                await self._bus.ensure_consumer(stream, config)
                puller = Puller(self._bus.client, stream=stream, consumer=name)
                await puller.open()
                try:
                    while self._bus.connected:
                        for advisory in await puller.fetch(_ADVISORIES, wait=_FETCH_WAIT):
                            await self._give_up(advisory)
                finally:
                    if self._bus.connected:
                        await puller.close()
            except (NatsError, APIError, *PASSING, TimeoutError, OSError) as error:
                log.info("advisories pause", consumer=self.consumer.name, error=repr(error))
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311 - jitter, not a secret

    async def _give_up(self, advisory: Msg) -> None:
        try:
            message = await self._bus.jetstream.get_msg(self.consumer.stream, msgspec.json.decode(advisory.data)["stream_seq"])
        except NotFoundError:
            await advisory.ack()  # the message is older than its stream keeps
            return
        await self._bury(message.data or b"", _GIVEN_UP, attempts=0)
        await advisory.ack()

    async def _consume(self) -> None:
        puller = Puller(self._bus.client, stream=self.consumer.stream, consumer=self.consumer.name)
        await puller.open()
        try:
            while True:
                handles = await self._fetch(puller)
                if handles:
                    self._lag.set(delivery_of(handles[-1]).pending)
                    await self._handle_or_give_back(handles)
                    await self._courtesy.give_way(delivery_of(handles[-1]).stored_at, self.consumer.patience)
                    if len(handles) < self.consumer.batch:
                        await asyncio.sleep(_GATHER)
                elif not self._bus.connected:
                    return
        finally:
            if self._bus.connected:
                await puller.close()

    async def _fetch(self, puller: Puller) -> Sequence[Msg]:
        handles = await puller.fetch(self.consumer.batch, wait=_FETCH_WAIT)
        if not handles:
            self._lag.set(0)
        return handles

    async def _handle_or_give_back(self, handles: Sequence[Msg]) -> None:
        """Work through messages; told to stop, give back what is not settled, so that another process need not wait for it."""
        try:
            await self._handle(handles)
        except asyncio.CancelledError:
            with contextlib.suppress(NatsError, OSError):
                for handle in handles:
                    if not handle.is_acked:
                        await handle.nak()
            raise

    async def _handle(self, handles: Sequence[Msg]) -> None:
        self._sizes.observe(len(handles))
        batch: list[Received] = []
        for handle in handles:
            decoded = self._decoder.decode(handle.data, deliveries=delivery_of(handle).times)
            if isinstance(decoded, Refusal):
                await self._refuse(handle, decoded)
            else:
                batch.append(Received(message=_sent(decoded, handle), handle=handle))
        batch.sort(key=lambda received: received.message.event_id.int)
        if batch:
            with self._tracing.processing(self.consumer.name, [item.message for item in batch]) as traced:
                pairs = zip(traced, batch, strict=True)
                await self._apply([Received(message=one.message, handle=item.handle, span=one.span) for one, item in pairs])

    async def _apply(self, batch: Sequence[Received]) -> None:
        """Commit a batch; halve it around a message whose handler fails."""
        try:
            new = await self._commit(batch)
        except Park as park:
            await self._apart(batch, park)
            return
        except Exception as error:  # noqa: BLE001 - whatever a handler raises must end as a retry or a dead letter
            await self._apart(batch, error)
            return
        crash.point("consumer.after_commit_before_ack")
        for received in batch:
            await received.handle.ack()
        for outcome, number in (("applied", new), ("duplicate", len(batch) - new)):
            CONSUMED.labels(consumer=self.consumer.name, outcome=outcome).inc(number)
        crash.point("consumer.after_ack")

    async def _apart(self, batch: Sequence[Received], error: Exception) -> None:
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._apply(batch[:middle])
            await self._apply(batch[middle:])
        elif isinstance(error, Park):
            CONSUMED.labels(consumer=self.consumer.name, outcome="parked").inc()
            await batch[0].handle.nak(delay=error.seconds)
        elif _is_contention(error):
            CONSUMED.labels(consumer=self.consumer.name, outcome="retried").inc()
            handle = batch[0].handle
            await handle.nak(delay=_after_contention(delivery_of(handle).times))
        else:
            await self._failed(batch[0], error)

    async def _commit(self, batch: Sequence[Received]) -> int:
        """Run the effect, return how many messages were new; while the database is away hold the batch and tell the broker so."""
        messages = [received.message for received in batch]
        while True:
            try:
                return await self._database.run(
                    lambda connection: self._effect(connection, messages), shared_by=[one.traceparent for one in messages]
                )
            except Unavailable as error:
                log.info("consumer waits for its database", consumer=self.consumer.name, error=repr(error))
                working = (received.handle.in_progress() for received in batch)
                await asyncio.gather(self._tell_lag(), *working, return_exceptions=True)
                await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311 - jitter, not a secret

    async def _tell_lag(self) -> None:
        """Say how much piles up while nothing is fetched, which would tell it."""
        info = await self._bus.jetstream.consumer_info(self.consumer.stream, self.consumer.name)
        self._lag.set(info.num_pending or 0)

    async def _effect(self, connection: Connection, messages: Sequence[Message[Any]]) -> int:
        new = await apply(connection, self.consumer, messages)
        crash.point("consumer.before_commit")
        return new

    async def _failed(self, received: Received, error: Exception) -> None:
        """Count an attempt of a lone message; give it up after the last."""
        fail(received.span, type(error).__name__)
        reason = f"{type(error).__name__}: {error}"[:2000]
        key = str(received.message.event_id)
        attempts = await self._database.run(lambda c: inbox.count_failure(c, self.consumer.name, key, reason))
        log.warning("message failed", consumer=self.consumer.name, message_id=key, attempts=attempts, error=type(error).__name__)
        if attempts >= self.consumer.attempts:
            await self._bury(received.message.data, reason, attempts=attempts)
            await received.handle.term()
            return
        CONSUMED.labels(consumer=self.consumer.name, outcome="retried").inc()
        await received.handle.nak(delay=random.uniform(0.5, 1.0) * 2**attempts)  # noqa: S311 - jitter, not a secret

    async def _refuse(self, handle: Msg, refusal: Refusal) -> None:
        log.warning("message refused", consumer=self.consumer.name, reason=refusal.reason, parked=refusal.park)
        if refusal.park:
            CONSUMED.labels(consumer=self.consumer.name, outcome="parked").inc()
            await handle.nak(delay=_PARK_SECONDS)
            return
        await self._bury(handle.data, refusal.reason, attempts=delivery_of(handle).times)
        await handle.term()

    async def _bury(self, data: bytes, reason: str, *, attempts: int) -> None:
        CONSUMED.labels(consumer=self.consumer.name, outcome="dead").inc()
        letter = inbox.letter(self.consumer.name, data, reason, attempts)
        await self._database.run(lambda connection: inbox.bury(connection, letter))

    async def _redrive_one(self, letter_id: object, data: bytes) -> int:
        decoded = self._decoder.decode(data, deliveries=2)

        async def work(connection: Connection) -> None:
            if isinstance(decoded, Refusal):
                raise TypeError(decoded.reason)
            await self._effect(connection, [decoded])
            await connection.execute(inbox.RETRIED, letter_id)

        try:
            await self._database.run(work)
        except Unavailable:
            return 0
        except Exception as error:  # noqa: BLE001 - a second failure goes back to the dead letters with its reason
            reason = inbox.storable(f"{type(error).__name__}: {error}"[:2000])
            await self._database.run(lambda connection: connection.execute(inbox.DEAD_AGAIN, letter_id, reason))
            return 0
        return 1

    def _config(self) -> ConsumerConfig:
        return ConsumerConfig(
            durable_name=self.consumer.name,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=_ACK_WAIT,
            max_deliver=_MAX_DELIVER,
            max_ack_pending=10_000,
            filter_subjects=self.consumer.filters(),
        )
