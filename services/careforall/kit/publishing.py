"""Publishing with our own acknowledgement counting: one inbox, one future a batch, one deadline.

The library waits for each message by itself, which costs more than the message.
"""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from careforall.kit.envelope import TRACEPARENT, Posted


class Ack(msgspec.Struct, frozen=True):
    """The broker stored a message, now or when it first arrived."""

    sequence: int
    duplicate: bool = False


class Refused(msgspec.Struct, frozen=True):
    """The broker did not store a message. `lasting` means that a repeat will not help."""

    reason: str
    lasting: bool = False


class _PubAck(msgspec.Struct):
    stream: str = ""
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


_decode_ack = msgspec.json.Decoder(_PubAck).decode
_TOO_LARGE = 10054
_HEADERS = 1024
"""Bytes of max_payload kept for headers: one message above it would cost the connection, and every neighbour its answer."""


class Window:
    """The publisher of one connection; see `open`."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._serial = 0
        self._batches: dict[str, _Flight] = {}

    async def open(self) -> None:
        """Begin to hear acknowledgements."""
        await self._client.subscribe(f"{self._inbox}.*.*", cb=self._on_ack)

    async def publish(self, messages: Sequence[Posted], deadline: float) -> list[Ack | Refused]:
        """Publish with all in flight, and return one answer each, in order; `deadline` in seconds for all together."""
        self._serial += 1
        name = str(self._serial)
        flight = self._batches[name] = _Flight(len(messages))
        try:
            async with asyncio.timeout(deadline):
                for index, (subject, message_id, payload, traceparent) in enumerate(messages):
                    if len(payload) + _HEADERS > self._client.max_payload:
                        flight.record(index, Refused("larger than the broker's max_payload", lasting=True))
                        continue
                    reply = f"{self._inbox}.{name}.{index}"
                    headers = {"Nats-Msg-Id": message_id}
                    if traceparent is not None:
                        headers[TRACEPARENT] = traceparent
                    await self._client.publish(subject, payload, reply=reply, headers=headers)
                await flight.done
        except (TimeoutError, NatsError, OSError) as error:
            return flight.answers(repr(error))
        finally:
            self._batches.pop(name, None)
        return flight.answers("no answer")

    def fail_all(self, reason: str) -> None:
        """Give up what is under way: no acknowledgement of it will come."""
        for flight in self._batches.values():
            flight.give_up(reason)

    async def _on_ack(self, message: Msg) -> None:
        _, name, index = message.subject.rsplit(".", 2)
        if flight := self._batches.get(name):
            flight.record(int(index), _judged(message))


class _Flight:
    """The answers of one window as they come in."""

    def __init__(self, size: int) -> None:
        self._answers: list[Ack | Refused | None] = [None] * size
        self._missing = size
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if not size:
            self.done.set_result(None)

    def record(self, index: int, answer: Ack | Refused) -> None:
        if self._answers[index] is None:
            self._missing -= 1
        self._answers[index] = answer
        if not self._missing and not self.done.done():
            self.done.set_result(None)

    def give_up(self, reason: str) -> None:
        self._answers = [answer or Refused(reason) for answer in self._answers]
        if not self.done.done():
            self.done.set_result(None)

    def answers(self, reason: str) -> list[Ack | Refused]:
        return [answer or Refused(reason) for answer in self._answers]


def _judged(message: Msg) -> Ack | Refused:
    """An acknowledgement counts only with a sequence above zero."""
    if not message.data:
        return Refused("no stream listens")
    ack = _decode_ack(message.data)
    if ack.error is not None:
        code = ack.error.get("err_code", 0)
        return Refused(f"{code}: {ack.error.get('description', '')}", lasting=code == _TOO_LARGE)
    return Ack(ack.seq, ack.duplicate) if ack.seq > 0 else Refused("acknowledged without a sequence")
