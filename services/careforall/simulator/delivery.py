"""Carries events to the receiver: signed, at least once, many at a time, with back-off until a 2xx or the end of patience.

The timed job of the consumers role calls `Courier.deliver_due`; the control API sends storms and shuffles with it.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence

import structlog

from careforall.kit.db import Connection, Database
from careforall.kit.http.lines import LineError, Lines
from careforall.simulator import repository_events
from careforall.simulator.objects import SIGNATURE_HEADER, signature
from careforall.simulator.repository_events import DueEvent, Outcome
from careforall.simulator.settings import SimulatorSettings

log = structlog.get_logger(__name__)

BATCH = 256
LEASE_IN_TIMEOUTS = 4
"""How long a claim holds: whoever dies with a batch leaves it to others after that; a slow batch may be sent twice."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 3600.0
_DAY_S = 86_400.0
_OK = range(200, 300)


class Courier:
    """Delivers events of one database.

    Args:
        database: Where the events wait.
        settings: Where they go and how they are signed.
    """

    def __init__(self, database: Database, settings: SimulatorSettings) -> None:
        self._database = database
        self._settings = settings
        self._secret = settings.signing_secret
        self._turn = asyncio.Semaphore(settings.webhook_flights)
        self._lines = Lines(
            settings.webhook_url,
            most=settings.webhook_flights,
            seconds=settings.webhook_timeout,
            headers={"Content-Type": "application/json"},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._lines.close()

    async def deliver_due(self) -> int:
        """Deliver all that is due, batch after batch, and return how many deliveries were tried."""
        tried = 0
        while batch := await self._database.run(self._claim):
            outcomes = await asyncio.gather(*(self._deliver(event) for event in batch))
            await self._settle(outcomes)
            tried += len(batch)
            if len(batch) < BATCH:
                break
        return tried

    async def storm(self, bodies: Sequence[bytes], times: int) -> Mapping[str, int]:
        """Send every event many times at once; return how often each answer came."""
        return Counter(await asyncio.gather(*(self._send(body) for body in bodies for _ in range(times))))

    async def shuffle(self, bodies: Sequence[bytes], *, rounds: int, seed: int) -> Mapping[str, int]:
        """Send all events one after another in a random order, round after round; return how often each answer came."""
        chance = random.Random(seed)  # noqa: S311 - an order to repeat, not a secret
        answers: Counter[str] = Counter()
        for _ in range(rounds):
            for body in chance.sample(bodies, len(bodies)):
                answers[await self._send(body)] += 1
        return answers

    async def _claim(self, connection: Connection) -> list[DueEvent]:
        lease = self._settings.webhook_timeout * LEASE_IN_TIMEOUTS
        return await repository_events.claim_events(connection, limit=BATCH, lease=lease)

    async def _settle(self, outcomes: Sequence[Outcome]) -> None:
        async def work(connection: Connection) -> None:
            await repository_events.settle_events(connection, outcomes)

        await self._database.run(work)

    async def _deliver(self, event: DueEvent) -> Outcome:
        forged = event.attempts <= event.bad_signatures
        answers = await asyncio.gather(*(self._send(event.body, forged=forged) for _ in range(event.copies)))
        if all(answer.isdigit() and int(answer) in _OK for answer in answers):
            return Outcome(number=event.number, state="DELIVERED", wait=0, text=answers[0])
        failure = next(answer for answer in answers if not answer.isdigit() or int(answer) not in _OK)
        if event.age > self._settings.webhook_days * _DAY_S:
            log.warning("event given up", event_id=event.id, outcome=failure, attempts=event.attempts)
            return Outcome(number=event.number, state="GIVEN_UP", wait=0, text=failure)
        return Outcome(number=event.number, state="PENDING", wait=pause(event.attempts), text=failure)

    async def _send(self, body: bytes, *, forged: bool = False) -> str:
        """Send one copy; return the status of the answer, or the name of what went wrong."""
        async with self._turn:  # whoever waits for a turn is not late yet, and is signed when it comes
            signed = {SIGNATURE_HEADER: self._sign(body, forged=forged)}
            try:
                answer = await self._lines.ask("POST", "", body, signed)
            except LineError as error:
                return type(error).__name__
        return str(answer.status)

    def _sign(self, body: bytes, *, forged: bool) -> str:
        return signature(f"not {self._secret}" if forged else self._secret, body, int(time.time()))


def pause(attempts: int) -> float:
    """Return the seconds to wait after so many attempts: doubled each time, with jitter, an hour at most."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, not a secret
