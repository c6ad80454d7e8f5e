"""What every way out looks like. A provider such as SendGrid or SES joins by one class that follows `Carrier`."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from careforall.kit.db import Connection
from careforall.notifications.domain import Channel, Outbound, Outcome
from careforall.notifications.rendering import Rendered


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message with its words, ready to be carried."""

    message: Outbound
    words: Rendered


class Carrier(Protocol):
    """Carries letters of one channel by one provider.

    `carry` gets a batch outside any transaction and returns one outcome per letter, in order; it keeps its own bounds on
    connections and time, and never raises for a letter of its own.
    """

    @property
    def channel(self) -> Channel:
        """Which messages it carries."""
        ...

    @property
    def provider(self) -> str:
        """Names it in breakers and metrics."""
        ...

    @property
    def batch(self) -> int:
        """How many messages it takes at once."""
        ...

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Carry letters."""
        ...


class DirectCarrier(Protocol):
    """Delivers into our own database, in the transaction that stores the messages: no lease, no second look.

    Its letters have no words yet: whoever reads one puts it into words, which most of them never need.
    """

    @property
    def channel(self) -> Channel:
        """Which messages it carries."""
        ...

    async def write(self, connection: Connection, letters: Sequence[Letter]) -> None:
        """Deliver letters whose messages this transaction stores."""
        ...


async def each(letters: Sequence[Letter], carry_one: Callable[[Letter], Awaitable[Outcome]], *, at_once: int) -> list[Outcome]:
    """Carry letters one by one, at most `at_once` under way."""
    places = asyncio.Semaphore(at_once)

    async def bounded(letter: Letter) -> Outcome:
        async with places:
            return await carry_one(letter)

    return list(await asyncio.gather(*(bounded(letter) for letter in letters)))
