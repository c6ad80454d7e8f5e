"""The degraded flag: whoever watches over the database tells services early that it takes no writes (rule 18).

The flag is a hint in NATS (bucket `cfa-flags`, key `degraded`) that lives thirty seconds. While it is active and fresh, requests
that write are refused at the door, reads keep to what is in memory and cache, relay and view refresh rest. Without NATS, or when
nobody renews the flag, services go on and find out about the database by themselves.
"""

import asyncio
import time
from datetime import UTC, datetime

import msgspec
import structlog
from nats.errors import Error as NatsError
from nats.js.api import RawStreamMsg
from nats.js.errors import APIError, NotFoundError

from careforall.kit.bus import Bus
from careforall.kit.errors import Unavailable
from careforall.kit.metrics import DEGRADED

log = structlog.get_logger(__name__)

LIFETIME = 30.0
"""Seconds for which a flag that is not said again is believed."""
_STREAM = "KV_cfa-flags"
_SUBJECT = "$KV.cfa-flags.degraded"
_EVERY = 1.0


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What the flag says; `since` is when writes were lost, `timeline` the database's newest."""

    active: bool
    since: datetime | None = None
    reason: str | None = None
    timeline: int | None = None


class Degraded(Unavailable):
    """The database takes no writes for a moment; nothing was tried. Reads go on."""

    code = "degraded"
    title = "Changes are not accepted for a moment, please retry"


_decode = msgspec.json.Decoder(Said).decode
_GONE = Said(active=False)


class DegradedFlag:
    """The flag as one process knows it."""

    def __init__(self, bus: Bus, *, lifetime: float = LIFETIME) -> None:
        self._bus = bus
        self._lifetime = lifetime
        self._said = _GONE
        self._sequence = 0
        self._fresh_until = 0.0

    @property
    def active(self) -> bool:
        """Whether writes should not be tried now."""
        return self._said.active and time.monotonic() < self._fresh_until

    def refuse_writes(self) -> None:
        """Refuse what would write.

        Raises:
            Degraded: The flag is active and fresh.
        """
        if self.active:
            raise Degraded(retry_after=5)

    async def run(self) -> None:
        """Look every second until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(_EVERY)

    async def look(self) -> None:
        """Ask for the flag once; while the broker is away, what was said last holds for the rest of its life."""
        before = self.active
        try:
            message = await self._bus.jetstream.get_last_msg(_STREAM, _SUBJECT)
        except NotFoundError:
            self._said = _GONE
        except (NatsError, APIError, Unavailable, TimeoutError, OSError):
            pass
        else:
            self._hear(message)
        DEGRADED.set(self.active)
        if self.active != before:
            log.warning("degraded" if self.active else "no longer degraded", reason=self._said.reason, since=self._said.since)

    def _hear(self, message: RawStreamMsg) -> None:
        """Take over what was said since the last look; its age counts where the broker's clock and ours agree about it."""
        if message.seq == self._sequence:
            return
        self._sequence = message.seq or 0
        try:
            self._said = _decode(message.data) if message.data else _GONE
        except msgspec.MsgspecError as error:
            log.warning("flag not understood", error=repr(error))
            self._said = _GONE
        age = (datetime.now(UTC) - message.time).total_seconds() if message.time else 0.0
        self._fresh_until = time.monotonic() + self._lifetime - max(0.0, age)
