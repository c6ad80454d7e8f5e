"""An integrator who hears everything that the platform sends and remembers it by the id of the message."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from careforall_testing.hook_receiver import Receiver, receiving


class Integrator:
    """What was told, by the id of the message; a message may come more than once, always under its id."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver

    @property
    def url(self) -> str:
        """Where it hears."""
        return self._receiver.url

    @property
    def told(self) -> dict[str, list[dict[str, Any]]]:
        """All copies of each message."""
        found: dict[str, list[dict[str, Any]]] = {}
        for post in self._receiver.posts:
            found.setdefault(post.id, []).append(post.event)
        return found

    def of(self, template: str) -> set[str]:
        """The donations that messages of a kind were about."""
        heard = [copies[0] for copies in self.told.values()]
        return {message["data"]["donation_id"] for message in heard if message["template"] == template}


@asynccontextmanager
async def integrator() -> AsyncIterator[Integrator]:
    """Listen on a free port of this machine."""
    async with receiving() as receiver:
        yield Integrator(receiver)
