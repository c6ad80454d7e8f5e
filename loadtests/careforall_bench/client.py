"""The load generator: raw HTTP/1.1 keep-alive on asyncio protocols, closed loop or open loop; `worker` runs it.

A closed loop keeps N callers busy, each sending again when it was answered: it finds the rate of saturation. An open
loop begins conversations at fixed times and measures each from the time it *should* have begun, so that a server that
stalls cannot hide the stall by slowing its callers down.
"""

import asyncio
import re
import time
from array import array
from collections import Counter, deque
from typing import cast

from careforall_bench.conversations import conversation
from careforall_bench.figures import Outcome
from careforall_bench.plan import Plan
from careforall_bench.requests import Conversation

LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
CLOSES = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
BODILESS = frozenset({204, 304})
HEAD_END = b"\r\n\r\n"
RECONNECT_SECONDS = 0.05
TICK_SECONDS = 0.001


class UnreachableError(ConnectionError):
    """Nobody listens where the load should go."""


class Caller(asyncio.Protocol):
    """One keep-alive connection with at most one request under way."""

    __slots__ = ("_driver", "_rest", "_transport", "due", "number")

    def __init__(self, driver: "Driver") -> None:
        self._driver = driver
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self.number = -1
        self.due = 0.0

    @property
    def busy(self) -> bool:
        """Whether a conversation is under way."""
        return self.number >= 0

    def begin(self, number: int, due: float, request: bytes) -> None:
        """Open a conversation that was due at `due`."""
        self.number = number
        self.due = due
        self.send(request)

    def send(self, request: bytes) -> None:
        """Write one request."""
        assert self._transport is not None
        self._transport.write(request)

    def close(self) -> None:
        """Hang up."""
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to write."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class derives from neither

    def data_received(self, data: bytes) -> None:
        """Wait for a whole answer, then hand it over."""
        if self._rest:
            data = self._rest + data
        head_end = data.find(HEAD_END)
        if head_end < 0:
            self._rest = data
            return
        status = int(data[9:12])
        body_at = head_end + len(HEAD_END)
        length = LENGTH.search(data, 0, head_end)
        if length is None and status not in BODILESS:
            self._driver.broken(self, "answer_without_length")
            return
        size = int(length[1]) if length is not None else 0
        if len(data) - body_at < size:
            self._rest = data
            return
        self._rest = b""
        closing = CLOSES.search(data, 0, head_end) is not None
        self._driver.answered(self, status, data[body_at : body_at + size], closing=closing)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the driver, which counts and calls again."""
        self._driver.lost(self, "disconnected" if exc is None else "reset")


class Driver:
    """Holds the callers of one process to the plan and counts what they meet."""

    def __init__(self, plan: Plan, talk: Conversation) -> None:
        self._plan = plan
        self._talk = talk
        self._callers: set[Caller] = set()
        self._idle: deque[Caller] = deque()
        self._statuses: Counter[int] = Counter()
        self._errors: Counter[str] = Counter()
        self._latencies = array("d")
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = self._ended = 0
        self._open_since = self._closing_at = self._last = 0.0
        self._over = asyncio.Event()

    async def run(self) -> Outcome:
        """Run the plan to its end and say what happened."""
        await self._connect_all()
        cpu = time.process_time()
        self._open_since = self._last = time.perf_counter()
        self._closing_at = self._open_since + self._plan.seconds
        self._pump()
        ticking = asyncio.ensure_future(self._tick())
        try:
            await asyncio.wait_for(self._over.wait(), self._plan.seconds + self._plan.patience)
        except TimeoutError:
            self._give_up()
        cpu = time.process_time() - cpu
        ticking.cancel()
        self._hang_up()
        return self._outcome(cpu)

    def answered(self, caller: Caller, status: int, body: bytes, *, closing: bool) -> None:
        """Go on with a caller's conversation, or end it and begin the next."""
        if not caller.busy:
            self._errors["unasked_answer"] += 1
            return
        self._statuses[status] += 1
        request = self._talk.reply(caller.number, status, body)
        if closing:
            self._leave(caller, None if request is None else "closed_midway")
        elif request is not None:
            self._continue(caller, request)
        else:
            self._end(caller)
            self._idle.append(caller)
            self._pump()

    def _continue(self, caller: Caller, request: bytes) -> None:
        if self._talk.pause:
            asyncio.get_running_loop().call_later(self._talk.pause, self._send, caller, request)
        else:
            caller.send(request)

    def _send(self, caller: Caller, request: bytes) -> None:
        if caller in self._callers:  # its connection may have gone meanwhile
            caller.send(request)

    def broken(self, caller: Caller, error: str) -> None:
        """Count an answer that cannot be read and replace its connection."""
        self._leave(caller, error)

    def lost(self, caller: Caller, error: str) -> None:
        """A connection is gone: its conversation failed, another caller takes its place."""
        if caller in self._callers:
            self._leave(caller, error)

    def _leave(self, caller: Caller, error: str | None) -> None:
        self._callers.discard(caller)
        if caller in self._idle:
            self._idle.remove(caller)
        if caller.busy:
            self._end(caller, error=error)
        caller.close()
        if not self._over.is_set():
            task = asyncio.ensure_future(self._call_again())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _end(self, caller: Caller, *, error: str | None = None) -> None:
        self._last = time.perf_counter()
        self._ended += 1
        caller.number = -1
        if error is None:
            self._latencies.append(self._last - caller.due)
        else:
            self._errors[error] += 1

    def _pump(self) -> None:
        """Begin what is due on callers that are free; notice the end."""
        now = time.perf_counter()
        while self._idle and self._started < self._due(now):
            number = self._started
            self._started += 1
            due = now if self._plan.rate is None else self._open_since + number / self._plan.rate
            request = self._talk.opening(self._plan.first + number)
            self._idle.popleft().begin(self._plan.first + number, due, request)
        if self._ended == self._started and self._exhausted(now):
            self._over.set()

    def _due(self, now: float) -> int:
        if self._plan.rate is None:
            return self._plan.planned if now < self._closing_at else 0
        return min(self._plan.planned, int((now - self._open_since) * self._plan.rate) + 1)

    def _exhausted(self, now: float) -> bool:
        if self._started >= self._plan.planned:
            return True
        return self._plan.rate is None and now >= self._closing_at

    async def _tick(self) -> None:
        pause = TICK_SECONDS if self._plan.rate is not None else RECONNECT_SECONDS
        while not self._over.is_set():
            await asyncio.sleep(pause)
            self._pump()

    async def _connect_all(self) -> None:
        try:
            await asyncio.gather(*(self._call() for _ in range(self._plan.connections)))
        except OSError as error:
            raise UnreachableError(f"{self._plan.host}:{self._plan.port} cannot be reached: {error}") from error

    async def _call(self) -> None:
        loop = asyncio.get_running_loop()
        _, caller = await loop.create_connection(lambda: Caller(self), self._plan.host, self._plan.port)
        self._callers.add(caller)
        self._idle.append(caller)

    async def _call_again(self) -> None:
        while not self._over.is_set():
            try:
                await self._call()
            except OSError:
                self._errors["refused_connection"] += 1
                await asyncio.sleep(RECONNECT_SECONDS)
            else:
                self._pump()
                return

    def _give_up(self) -> None:
        self._errors["unanswered"] += self._started - self._ended
        if self._plan.rate is not None:
            self._errors["never_begun"] += self._plan.planned - self._started
        self._last = time.perf_counter()

    def _hang_up(self) -> None:
        self._over.set()
        callers, self._callers = self._callers, set()
        for caller in callers:
            caller.close()
        for task in self._tasks:
            task.cancel()

    def _outcome(self, cpu: float) -> Outcome:
        return Outcome(
            started=self._started,
            seconds=self._last - self._open_since,
            cpu_seconds=cpu,
            statuses=dict(self._statuses),
            errors={name: count for name, count in self._errors.items() if count},
            tallies=dict(self._talk.tallies),
            latencies=self._latencies.tobytes(),
            kept=self._talk.kept,
        )


async def drive(plan: Plan) -> Outcome:
    """Run one process's share of a load on the running loop."""
    return await Driver(plan, conversation(plan.script, host=plan.host, port=plan.port)).run()
