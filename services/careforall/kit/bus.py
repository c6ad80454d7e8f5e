"""The connection to NATS: streams and consumers declared in code, a windowed publisher with deadlines of its own, requests.

The broker may be away when a process starts or at any time later; everything here then fails fast and comes back by itself.
"""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime

import msgspec
import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StreamConfig
from nats.js.client import JetStreamContext
from nats.js.errors import APIError, NotFoundError

from careforall.kit import tasks
from careforall.kit.envelope import Posted
from careforall.kit.errors import Unavailable
from careforall.kit.publishing import Ack, Refused, Window

log = structlog.get_logger(__name__)

MINIMUM_VERSION = (2, 12)
_DAY = 86_400.0


class BrokerUnavailable(Unavailable):
    """NATS cannot be reached."""

    code = "broker_unavailable"
    title = "The message broker is away, please retry"


class BrokerTooOld(Exception):
    """The server would drop settings silently."""


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A limits-retention stream and the subjects it keeps."""

    name: str
    subjects: tuple[str, ...]
    max_age_days: float = 7
    duplicate_window_seconds: float = 600
    max_bytes: int = 4 * 1024**3
    replicas: int = 1


class Extent(msgspec.Struct, frozen=True):
    """Which stream it is, by the time of its creation, and the sequence of its newest message."""

    created: datetime
    last: int


class Bus:
    """One NATS connection per process."""

    def __init__(self, url: str, *, name: str, accept_old: bool = False) -> None:
        self.url = url
        self._name = name
        self._accept_old = accept_old
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._on_connect: list[Callable[[], Awaitable[None]]] = []
        self._window: Window | None = None
        self._declared: tuple[Stream, ...] = ()
        self._replies: set[asyncio.Task[None]] = set()

    @property
    def connected(self) -> bool:
        """Whether messages can be sent right now."""
        return self._client is not None and self._client.is_connected

    @property
    def client(self) -> Client:
        """The connected client.

        Raises:
            BrokerUnavailable: If there is none right now.
        """
        if self._client is None or not self._client.is_connected:
            raise BrokerUnavailable
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """JetStream on the connected client."""
        return self.client.jetstream(timeout=5)

    async def open(self, *, wait: float = 2.0) -> None:
        """Start connecting; return when connected or after `wait` seconds, whichever is first.

        Raises:
            BrokerTooOld: The server answered and is older than 2.12.
        """
        self._connecting = asyncio.ensure_future(self._connect())
        done, _ = await asyncio.wait({self._connecting}, timeout=wait)
        for task in done:
            task.result()

    async def close(self) -> None:
        """Stop connecting and close the connection."""
        if self._connecting is not None:
            await tasks.end([self._connecting])
        if self._client is not None:
            with contextlib.suppress(NatsError, OSError, asyncio.TimeoutError):
                async with asyncio.timeout(2):
                    await self._client.close()

    async def when_ready(self) -> None:
        """Wait until the broker is connected."""
        while not self.connected:
            await self._ready.wait()
            if not self.connected:
                await asyncio.sleep(0.05)

    def on_connect(self, callback: Callable[[], Awaitable[None]]) -> None:
        """Run `callback` after each connect and reconnect."""
        self._on_connect.append(callback)

    async def publish_window(self, messages: Sequence[Posted], *, deadline: float = 5.0) -> list[Ack | Refused]:
        """Publish with many in flight and return one answer each, in order."""
        if self._window is None or not self.connected:
            return [Refused("broker away")] * len(messages)
        return await self._window.publish(messages, deadline)

    async def request(self, subject: str, payload: bytes, *, timeout: float = 1.0) -> bytes:
        """Ask another service now.

        Raises:
            BrokerUnavailable: Nobody answered in time.
        """
        try:
            return (await self.client.request(subject, payload, timeout=timeout)).data
        except (TimeoutError, NatsError, OSError) as error:
            raise BrokerUnavailable from error

    async def answer(self, subject: str, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
        """Answer requests on `subject` in a queue group, now and after every reconnect.

        Requests are answered side by side, so that concurrent ones can share a transaction; where the handler finds something
        away, nobody is answered, and the asker's own deadline tells it so.
        """

        async def reply(message: Msg) -> None:
            task = asyncio.ensure_future(_reply(message, handler))
            self._replies.add(task)
            task.add_done_callback(self._replies.discard)

        await self._subscribe_when_connected(subject, reply, queue=subject)

    async def listen(self, subject: str, handler: Callable[[Msg], Awaitable[None]]) -> None:
        """Hear core messages on `subject` (hints only: they may be lost)."""
        await self._subscribe_when_connected(subject, handler, queue="")

    def hint(self, subject: str, payload: bytes = b"") -> None:
        """Send a core message that may be lost, without waiting."""
        if self._client is not None and self._client.is_connected:
            task = asyncio.ensure_future(self._hint(subject, payload))
            task.add_done_callback(_forget)

    async def ensure_streams(self, streams: Sequence[Stream]) -> None:
        """Create or repair streams and read back what the server made."""
        self._declared = tuple(streams)
        await self.repair_streams()

    async def repair_streams(self, *names: str) -> None:
        """Create again what somebody deleted of the streams declared before: those of these names, or all."""
        for stream in self._declared:
            if not names or stream.name in names:
                await self._ensure_stream(stream)

    async def ensure_consumer(self, stream: str, config: ConsumerConfig) -> None:
        """Create or repair a durable consumer, and its stream where somebody deleted that; read back what the server made.

        Raises:
            BrokerTooOld: If the server dropped the subject filter.
        """
        try:
            info = await self.jetstream.add_consumer(stream, config=config)
        except NotFoundError:
            await self.repair_streams(stream)
            info = await self.jetstream.add_consumer(stream, config=config)
        if sorted(info.config.filter_subjects or []) != sorted(config.filter_subjects or []):
            raise BrokerTooOld(f"the broker dropped the subject filter of {config.durable_name}: use NATS 2.12 or later")

    async def extent(self, stream: str) -> Extent | None:
        """Return how far a stream goes, or None when it is not there."""
        try:
            info = await self.jetstream.stream_info(stream)
        except NotFoundError:
            return None
        created = _created(info.created)
        return Extent(created, info.state.last_seq) if created is not None else None

    async def _connect(self) -> None:
        wait = 0.1
        while True:
            try:
                self._client = await nats.connect(
                    self.url,
                    name=self._name,
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=0.5,
                    ping_interval=15,
                    max_outstanding_pings=2,
                    connect_timeout=2,
                    allow_reconnect=True,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnect,
                    reconnected_cb=self._on_ready,
                )
            except (TimeoutError, NatsError, OSError):
                await asyncio.sleep(random.uniform(wait / 2, wait))  # noqa: S311 - jitter, not a secret
                wait = min(wait * 2, 2.0)
                continue
            self._check_version(self._client)
            await self._on_ready()
            return

    def _check_version(self, client: Client) -> None:
        version = client.connected_server_version
        if (version.major, version.minor) < MINIMUM_VERSION and not self._accept_old:
            raise BrokerTooOld(
                f"NATS {version.major}.{version.minor} drops settings silently: use 2.12 or later, "
                "or set CAREFORALL_ACCEPT_OLD_BROKER=true to take the risk"
            )

    async def _on_ready(self) -> None:
        if self._client is None:
            return
        self._window = Window(self._client)
        await self._window.open()
        self._ready.set()
        for callback in self._on_connect:
            try:
                await callback()
            except (TimeoutError, NatsError, APIError, Unavailable) as error:
                log.warning("reconnect callback failed", error=repr(error))

    async def _on_disconnect(self) -> None:
        self._ready.clear()
        if self._window is not None:
            self._window.fail_all("disconnected")
            self._window = None

    async def _on_error(self, error: Exception) -> None:
        log.info("broker", error=repr(error))

    async def _hint(self, subject: str, payload: bytes) -> None:
        with contextlib.suppress(NatsError, OSError):
            await self.client.publish(subject, payload)

    async def _subscribe_when_connected(self, subject: str, handler: Callable[[Msg], Awaitable[None]], *, queue: str) -> None:
        subscribed = False

        async def subscribe() -> None:
            nonlocal subscribed
            if not subscribed:  # the client itself resubscribes after a reconnect
                await self.client.subscribe(subject, queue=queue, cb=handler)
                subscribed = True

        self.on_connect(subscribe)
        if self.connected:
            await subscribe()

    async def _ensure_stream(self, stream: Stream) -> None:
        config = StreamConfig(
            name=stream.name,
            subjects=list(stream.subjects),
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.NEW,
            max_age=stream.max_age_days * _DAY,
            max_bytes=stream.max_bytes,
            duplicate_window=stream.duplicate_window_seconds,
            num_replicas=stream.replicas,
            allow_direct=True,
        )
        try:
            info = await self.jetstream.add_stream(config)
        except APIError:
            info = await self.jetstream.update_stream(config)
        if sorted(info.config.subjects or []) != sorted(stream.subjects):
            raise BrokerTooOld(f"the broker made stream {stream.name} with other subjects than asked for")


def _created(value: object) -> datetime | None:
    if isinstance(value, datetime):
        return value
    return datetime.fromisoformat(value) if isinstance(value, str) else None


async def _reply(message: Msg, handler: Callable[[bytes], Awaitable[bytes]]) -> None:
    try:
        await message.respond(await handler(message.data))
    except (Unavailable, NatsError) as error:
        log.info("request not answered", subject=message.subject, error=repr(error))
    except Exception as error:  # noqa: BLE001 - one bad request must not end the answering of others
        log.warning("request failed", subject=message.subject, error=repr(error))


def _forget(task: asyncio.Task[None]) -> None:
    if not task.cancelled():
        task.exception()
