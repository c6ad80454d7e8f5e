"""Carries events to the receiver: signed, at least once, many at a time, with back-off until a 2xx or the end of patience.

The timed job of the consumers role calls `Courier.deliver_due`; the control API sends storms and shuffles with it.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import aclosing

import httpx2
import structlog

from careforall.kit.db import Connection, Database
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
        self._url = httpx2.URL(settings.webhook_url)
        self._free: asyncio.Queue[httpx2.AsyncHTTPTransport] | None = None
        self._lines: list[httpx2.AsyncHTTPTransport] = []

    async def close(self) -> None:
        """Close the connections."""
        for line in self._lines:
            await line.aclose()

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
        free = self._free or self._open_lines()
        line = await free.get()
        headers = {"Content-Type": "application/json", SIGNATURE_HEADER: self._sign(body, forged=forged)}
        request = httpx2.Request("POST", self._url, content=body, headers=headers, extensions=self._deadlines())
        try:
            async with aclosing(await line.handle_async_request(request)) as answer:
                await answer.aread()
        except httpx2.HTTPError as error:
            return type(error).__name__
        finally:
            free.put_nowait(line)
        return str(answer.status_code)

    def _open_lines(self) -> asyncio.Queue[httpx2.AsyncHTTPTransport]:
        """Open as many lines as may be in flight; one connection each spares the search for a free one in a shared pool."""
        security = httpx2.create_ssl_context(trust_env=False)
        limits = httpx2.Limits(max_connections=1, max_keepalive_connections=1)
        self._free = asyncio.Queue()
        for _ in range(self._settings.webhook_flights):
            line = httpx2.AsyncHTTPTransport(verify=security, limits=limits)
            self._lines.append(line)
            self._free.put_nowait(line)
        return self._free

    def _deadlines(self) -> dict[str, dict[str, float]]:
        return {"timeout": dict.fromkeys(("connect", "read", "write", "pool"), self._settings.webhook_timeout)}

    def _sign(self, body: bytes, *, forged: bool) -> str:
        secret = self._settings.signing_secret
        return signature(f"not {secret}" if forged else secret, body, int(time.time()))


def pause(attempts: int) -> float:
    """Return the seconds to wait after so many attempts: doubled each time, with jitter, an hour at most."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(attempts - 1, 20))
    return longest * random.uniform(0.75, 1.0)  # noqa: S311 - jitter, not a secret
