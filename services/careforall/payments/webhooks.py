"""The intake of gateways' events: verify, dedupe, hand over to the shared transaction, answer.

Redis may answer a repeat with the stored bytes; it never says that something is new (rule 8). Both the thin route and its
framework twin call `Webhooks.receive`.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Protocol

import msgspec
import structlog

from careforall.kit import crash
from careforall.kit.batch import GroupCommit
from careforall.kit.cache import Cache
from careforall.kit.db import Database
from careforall.kit.errors import FieldError, InvalidInput, Malformed, Problem
from careforall.kit.http import problem
from careforall.kit.ids import new_id
from careforall.kit.signatures import Headers
from careforall.payments import repository
from careforall.payments.domain import NoFact
from careforall.payments.errors import GatewayNotSetUp, InvalidSignature
from careforall.payments.gateways.base import ASKED_ABOUT, Told
from careforall.payments.intake import Answer, Incoming, Intake
from careforall.payments.metrics import WEBHOOKS

log = structlog.get_logger(__name__)

_DAY = 86_400
_WARM_EVERY = 0.01
_HASH = 32
_LONGEST_KEY = 200


class Scheme(Protocol):
    """How a gateway proves that an event is its own."""

    async def holds(self, headers: Headers, body: bytes, now: float) -> bool:
        """Whether the signature in the headers is right for the body."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """How the events of one gateway come in: their proof and their translation, which never raises."""

    scheme: Scheme
    read: Callable[[bytes], Told]


class Webhooks:
    """Receives events of all gateways in one process.

    Args:
        intake: Writes the batches.
        channels: Whose events are taken, by gateway.
    """

    def __init__(
        self,
        database: Database,
        cache: Cache,
        intake: Intake,
        *,
        channels: Mapping[str, Channel],
        max_batch: int,
        flights: int,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._channels = channels
        self._batch: GroupCommit[Incoming, Answer] = GroupCommit(
            "webhooks", database, intake.write, max_batch=max_batch, flights=flights
        )
        self._answers = _Answers(cache)
        self._clock = clock
        self._counters: dict[tuple[str, bool], Callable[[], None]] = {}

    @property
    def gateways(self) -> tuple[str, ...]:
        """Whose events are taken."""
        return tuple(self._channels)

    async def receive(self, gateway: str, headers: Headers, body: bytes) -> Answer:
        """Take one delivery and return what the gateway is told.

        Raises:
            GatewayNotSetUp: We know no secret of such a gateway; nothing is stored.
            InvalidSignature: It is not signed with a secret of ours, or too long ago; nothing is stored.
        """
        channel = self._channels.get(gateway)
        if channel is None:
            raise GatewayNotSetUp
        if not await channel.scheme.holds(headers, body, self._clock()):
            self._count("invalid_signature", hit=False)
            raise InvalidSignature
        item = _incoming(gateway, headers, body, channel.read(body))
        answer = await self._answers.of(item)
        if answer is None:
            answer = await self._batch.submit(item, key=f"{gateway}\0{item.key}\0{item.body_hash.hex()}")
            crash.point("webhook.after_commit")
            await self._ask_soon(item)
            self._answers.remember(item, answer)
        self._count(answer.word, hit=answer.replayed)
        return answer

    async def _ask_soon(self, item: Incoming) -> None:
        """Have an attempt asked about where an event says no more; before the answer, so that a crash has it told again."""
        if isinstance(item.fact, NoFact) and item.fact.reason in ASKED_ABOUT and item.gateway_object:
            await self._database.run(lambda connection: repository.ask_now(connection, item.gateway_object))

    async def drain(self) -> None:
        """Wait until every accepted event is answered."""
        await self._batch.drain()
        await self._answers.drain()

    def _count(self, status: str, *, hit: bool) -> None:
        count = self._counters.get((status, hit))
        if count is None:
            count = WEBHOOKS.labels(status=status, idempotency_hit=str(hit).lower()).inc
            self._counters[status, hit] = count
        count()


class _Answers:
    """Stored answers in Redis: read with the others of the moment, written a little later all at once."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._waiting: dict[str, bytes] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def of(self, item: Incoming) -> Answer | None:
        """Return the stored answer of a repeat with the same body, if Redis knows it."""
        stored = await self._cache.get(_place(item))
        if stored is None or stored[:_HASH] != item.body_hash:
            return None
        status = int.from_bytes(stored[_HASH : _HASH + 2], "big")
        return Answer(status=status, body=stored[_HASH + 2 :], replayed=True, word="repeated")

    def remember(self, item: Incoming, answer: Answer) -> None:
        """Keep a lasting answer for a day."""
        if not answer.lasting:
            return
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_WARM_EVERY, self._flush)
        self._waiting[_place(item)] = item.body_hash + answer.status.to_bytes(2, "big") + answer.body

    async def drain(self) -> None:
        """Write what waits and leave nothing running."""
        self._flush()
        await asyncio.gather(*self._tasks)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        task = asyncio.ensure_future(self._cache.put(waiting, seconds=_DAY))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _place(item: Incoming) -> str:
    return f"webhook:{item.gateway}:{item.key}"


def _incoming(gateway: str, headers: Mapping[bytes, bytes], body: bytes, told: Told) -> Incoming:
    body_hash = hashlib.sha256(body).digest()
    event_id = told.event_id or headers.get(b"webhook-id", b"").decode("latin-1")
    event_key = _key("e", event_id) if event_id else ""
    header = headers.get(b"x-idempotency-key", b"").decode("latin-1")
    key = _key("k", header) if header else event_key or f"s:{body_hash.hex()}"
    return Incoming(
        id=new_id(),
        gateway=gateway,
        key=key,
        event_key=event_key if event_key != key else "",
        body=body,
        body_hash=body_hash,
        event_type=_plain(told.event_type),
        payment_id=told.payment_id,
        gateway_object=told.gateway_object,
        fact=told.fact,
        flawed=_flawed(told) if told.flaw else None,
        received_at=datetime.now(UTC),
    )


def _key(kind: str, text: str) -> str:
    """Return a key that can be stored whatever a sender made up: long or strange ones are hashed."""
    if len(text) <= _LONGEST_KEY and text.isascii() and text.isprintable():
        return f"{kind}:{text}"
    return f"{kind}#{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()}"


def _plain(text: str) -> str:
    return text[:100] if text.isprintable() else "unprintable"


def _flawed(told: Told) -> tuple[int, bytes]:
    """Return the refusal of a signed body we cannot read; it is kept like any other event."""
    status, _, body = problem.render(_flaw(told), "")
    return status, body


def _flaw(told: Told) -> Problem:
    if not told.pointer:
        return Malformed(told.flaw)
    if told.pointer == "validation":
        return problem.from_validation(msgspec.ValidationError(told.flaw))
    return InvalidInput(told.flaw, errors=[FieldError(pointer=told.pointer, code="invalid_value", message=told.flaw)])
