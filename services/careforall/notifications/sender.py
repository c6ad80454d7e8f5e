"""The background worker of one channel: lease a batch, render it, carry it outside any transaction, note what became of it.

Each channel has its own worker, lease, bounds and breaker (a bulkhead), so a dead provider delays nobody but its own messages.
Several processes may run it: leases are taken with SKIP LOCKED. `app` runs one per channel as a job.
"""

import asyncio
import contextlib
import random
from collections.abc import Sequence
from uuid import UUID

import asyncpg
import structlog

from careforall.kit import crash, tasks
from careforall.kit.cache import Breaker
from careforall.kit.db import Database
from careforall.kit.errors import Problem, Unavailable
from careforall.notifications import repository
from careforall.notifications.channels.base import Carrier, Letter
from careforall.notifications.domain import Outbound, Outcome, retry_delay
from careforall.notifications.metrics import SENDS
from careforall.notifications.rendering import NO_WORDS, Rendered, Renderer, RenderingError

log = structlog.get_logger(__name__)

LEASE = 120.0
_HOLD_EVERY = LEASE / 3


class Sender:
    """Sends the messages of one channel."""

    def __init__(self, database: Database, carrier: Carrier, renderer: Renderer, *, max_retries: int) -> None:
        self._database = database
        self._carrier = carrier
        self._renderer = renderer
        self._max_retries = max_retries
        self._breaker = Breaker(f"notifications-{carrier.provider}")

    async def run(self) -> int:
        """Send until nothing is due, the provider is given a pause or the database is away; return how many were sent."""
        sent = 0
        with contextlib.suppress(Unavailable):
            while self._breaker.closed and (found := await self._turn()) is not None:
                sent += found
        return sent

    async def _turn(self) -> int | None:
        """Send one batch; None where nothing is due."""
        messages = await self._database.single(
            lambda connection: repository.claim(connection, self._carrier.channel, self._carrier.batch, LEASE)
        )
        if not messages:
            return None
        crash.point("notifications.after_claim")
        return await self._send(messages)

    async def _send(self, messages: Sequence[Outbound]) -> int:
        letters, outcomes = self._rendered(messages)
        if letters:
            found = await self._carried(letters)
            outcomes |= {letter.message.id: outcome for letter, outcome in zip(letters, found, strict=True)}
            self._learn(found)
        crash.point("notifications.after_send_before_mark")
        verdicts = [verdict(message, outcomes[message.id], self._max_retries) for message in messages]
        await self._database.run(lambda connection: repository.settle(connection, verdicts))
        return self._count(verdicts)

    async def _carried(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        """Carry letters, and hold them meanwhile however slow the provider is: nobody else may send them too."""
        holding = asyncio.ensure_future(self._hold([letter.message.id for letter in letters]))
        try:
            return await self._carrier.carry(letters)
        finally:
            await tasks.end([holding])

    async def _hold(self, identifiers: Sequence[UUID]) -> None:
        while True:
            await asyncio.sleep(_HOLD_EVERY)
            with contextlib.suppress(Problem, asyncpg.PostgresError):
                await self._database.run(lambda connection: repository.hold(connection, identifiers, LEASE))

    def _rendered(self, messages: Sequence[Outbound]) -> tuple[list[Letter], dict[UUID, Outcome]]:
        """Render messages; one that cannot be rendered is given up at once, with the reason."""
        letters: list[Letter] = []
        outcomes: dict[UUID, Outcome] = {}
        for message in messages:
            try:
                words = self._words(message)
            except RenderingError as error:
                outcomes[message.id] = Outcome(error=str(error), lasting=True)
            else:
                letters.append(Letter(message=message, words=words))
        return letters, outcomes

    def _words(self, message: Outbound) -> Rendered:
        """Return a message in words; integrators get facts alone."""
        if message.channel == "WEBHOOK":
            return NO_WORDS
        return self._renderer.render(message.template, message.language, message.payload)

    def _learn(self, outcomes: Sequence[Outcome]) -> None:
        """Judge the provider: a batch in which nothing went through and something may pass later is a failure."""
        if any(outcome.sent or outcome.lasting for outcome in outcomes):
            self._breaker.succeeded()
        elif not all(outcome.uncounted for outcome in outcomes):
            self._breaker.failed()

    def _count(self, verdicts: Sequence[repository.Verdict]) -> int:
        sent = 0
        for found in verdicts:
            SENDS.labels(channel=self._carrier.channel, outcome=found.status.lower()).inc()
            sent += found.status == "SENT"
            if found.status == "DEAD":
                log.warning("message given up", channel=self._carrier.channel, notification=str(found.id), error=found.error)
        return sent


def verdict(message: Outbound, outcome: Outcome, max_retries: int) -> repository.Verdict:
    """Return what to note on a message after a try."""
    if outcome.sent:
        return repository.Verdict(id=message.id, status="SENT", counted=False, delay=0.0, error="")
    counted = not outcome.uncounted
    tries = message.retry_count + counted
    dead = outcome.lasting or tries >= max_retries
    delay = outcome.retry_after or retry_delay(message.retry_count, random.random())  # noqa: S311 - jitter, not a secret
    return repository.Verdict(
        id=message.id, status="DEAD" if dead else "FAILED", counted=counted, delay=delay, error=outcome.error[:2000]
    )
