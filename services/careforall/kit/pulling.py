"""Pulls a durable consumer's messages batch by batch; `consumer.Runner` works through them.

The library's own fetch makes two tasks and a timer for every message; here a whole batch is one wait.
"""

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import NamedTuple

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.errors import APIError

from careforall.kit import json

_NANOSECONDS = 1_000_000_000
_GRACE = 0.5
"""Seconds by which the broker's own word that nothing came may be late before it is not waited for any longer."""
_HEARTBEAT = "100"
_FIRST_FORM = 9
_OVER = frozenset({"404", "408"})


class Delivery(NamedTuple):
    """What the broker says of a delivery in its reply subject."""

    times: int
    """How often the message was delivered so far."""
    pending: int
    """How many messages wait behind it."""
    stored_ns: int
    """When the broker stored the message, in nanoseconds of the epoch."""

    @property
    def stored_at(self) -> datetime:
        """When the broker stored the message."""
        return datetime.fromtimestamp(self.stored_ns / _NANOSECONDS, tz=UTC)


def delivery_of(message: Msg) -> Delivery:
    """Read the broker's reply subject, in its first form (nine parts) or its second; the library makes far more of it."""
    parts = message.reply.split(".")
    first = 4 if len(parts) == _FIRST_FORM else 6
    return Delivery(int(parts[first]), int(parts[first + 4]), int(parts[first + 3]))


class Puller:
    """The pull subscription of one process to one durable consumer."""

    def __init__(self, client: Client, *, stream: str, consumer: str) -> None:
        self._client = client
        self._inbox = client.new_inbox()
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        self._serial = 0
        self._batch = 0
        self._found: list[Msg] = []
        self._refusal: Msg | None = None
        self._done = asyncio.Event()
        self._subscription: Subscription | None = None

    async def open(self) -> None:
        """Begin to hear what is delivered."""
        self._subscription = await self._client.subscribe(f"{self._inbox}.*", cb=self._take)

    async def close(self) -> None:
        """Hear no more; what was delivered and not acknowledged comes again."""
        if self._subscription is not None:
            await self._subscription.unsubscribe()

    async def fetch(self, batch: int, *, wait: float) -> list[Msg]:
        """Return the messages there are, about `batch` at most, or the first that come within `wait` seconds, or none.

        Raises:
            APIError: The broker refuses, for example because the durable is gone.
        """
        if not self._found:
            await self._ask(batch, wait)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait + _GRACE):
                    await self._done.wait()
        found, self._found = self._found, []
        if not found and self._refusal is not None:
            raise APIError.from_msg(self._refusal)
        return found

    async def _ask(self, batch: int, wait: float) -> None:
        """Ask for what is there; where nothing is, the broker waits for the first message."""
        self._serial += 1
        self._batch, self._refusal = batch, None
        self._done.clear()
        request = {"batch": batch, "expires": int(wait * _NANOSECONDS), "no_wait": True}
        await self._client.publish(self._next, json.encode(request), reply=f"{self._inbox}.{self._serial}")

    async def _take(self, message: Msg) -> None:
        status = message.header.get("Status") if message.header else None
        if status is None:
            self._found.append(message)  # also one of an earlier request that came late
            if len(self._found) >= self._batch:
                self._done.set()
        elif status != _HEARTBEAT and message.subject == f"{self._inbox}.{self._serial}":
            self._refusal = None if status in _OVER else message
            self._done.set()
