"""The generator against a small server on this machine: what it counts, and that a stall cannot hide from an open loop."""

import asyncio
import re
from array import array
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from careforall_bench.client import UnreachableError, drive
from careforall_bench.figures import Outcome
from careforall_bench.load import LoadError, run_load
from careforall_bench.plan import Donations, Lives, Plan, Repeat, Script

Answer = Callable[[int, bytes], Awaitable[bytes]]
READS = Repeat(paths=["/"], marks=["mark"])
LIVES = Lives(
    donations=Donations(path="/donations", campaigns=["c1"], currency="USD", token="t"), webhook_path="/hook", secret="s"
)


def answer(status: int = 200, body: bytes = b"a mark", *, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


async def plainly(_number: int, _request: bytes) -> bytes:
    return answer()


@asynccontextmanager
async def serving(respond: Answer) -> AsyncIterator[int]:
    """A server that asks `respond` for the raw answer to each request; an empty one hangs up."""
    seen = 0
    visits: set[asyncio.Task[object]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        visit = asyncio.current_task()
        assert visit is not None
        visits.add(visit)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                length = re.search(rb"Content-Length: (\d+)", head)
                body = await reader.readexactly(int(length[1])) if length else b""
                seen += 1
                raw = await respond(seen, head + body)
                if not raw:
                    return
                writer.write(raw)
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
    for visit in visits:
        visit.cancel()
    await asyncio.gather(*visits, return_exceptions=True)


def plan(
    port: int,
    *,
    script: Script = READS,
    seconds: float = 5,
    connections: int = 4,
    count: int = 100,
    rate: float | None = None,
    patience: float = 10,
) -> Plan:
    return Plan(
        host="127.0.0.1",
        port=port,
        script=script,
        seconds=seconds,
        connections=connections,
        count=count,
        rate=rate,
        patience=patience,
    )


def latencies(outcome: Outcome) -> list[float]:
    found = array("d")
    found.frombytes(outcome.latencies)
    return list(found)


async def test_a_closed_loop_counts_every_answer_and_ends_with_its_count() -> None:
    async with serving(plainly) as port:
        outcome = await drive(plan(port, count=500))
    assert outcome.started == outcome.statuses[200] == len(latencies(outcome)) == outcome.tallies["mark"] == 500
    assert outcome.errors == {}


async def test_a_closed_loop_ends_with_its_time() -> None:
    async with serving(plainly) as port:
        outcome = await drive(plan(port, seconds=0.2, count=5_000_000))
    assert 0.1 < outcome.seconds < 2
    assert len(latencies(outcome)) == outcome.started > 0


async def test_an_open_loop_counts_latency_from_the_time_each_request_was_due() -> None:
    async def stall_once(number: int, _request: bytes) -> bytes:
        if number == 10:
            await asyncio.sleep(0.4)
        return answer()

    async with serving(stall_once) as port:
        outcome = await drive(plan(port, connections=1, seconds=1, rate=100))
    waited = sorted(latencies(outcome))
    assert len(waited) == 100
    assert sum(latency > 0.1 for latency in waited) >= 25  # those due during the stall waited too
    assert waited[-1] >= 0.35


async def test_an_open_loop_keeps_to_its_rate() -> None:
    async with serving(plainly) as port:
        outcome = await drive(plan(port, seconds=0.5, rate=200))
    assert outcome.started == 100
    assert outcome.seconds >= 0.49


async def test_what_an_open_loop_could_not_begin_is_an_error_and_not_forgotten() -> None:
    async def never(_number: int, _request: bytes) -> bytes:
        await asyncio.Event().wait()
        return b""

    async with serving(never) as port:
        outcome = await drive(plan(port, connections=2, seconds=0.1, rate=100, patience=0.2))
    assert outcome.errors == {"unanswered": 2, "never_begun": 8}
    assert latencies(outcome) == []


async def test_answers_that_come_in_pieces_are_put_together() -> None:
    writes: list[bytes] = [answer(201, b"x" * 70_000 + b"mark")]

    async def large(_number: int, _request: bytes) -> bytes:
        return writes[0]

    async with serving(large) as port:
        outcome = await drive(plan(port, count=20))
    assert (outcome.statuses, outcome.tallies, outcome.errors) == ({201: 20}, {"mark": 20}, {})


async def test_a_broken_connection_is_counted_and_replaced() -> None:
    async def hang_up_sometimes(number: int, _request: bytes) -> bytes:
        return b"" if number % 10 == 0 else answer()

    async with serving(hang_up_sometimes) as port:
        outcome = await drive(plan(port, count=100))
    assert outcome.started == 100
    assert outcome.errors == {"disconnected": 10}
    assert outcome.statuses == {200: 90}


async def test_a_server_that_closes_after_its_answer_costs_no_error() -> None:
    async def close_each(_number: int, _request: bytes) -> bytes:
        return answer(headers="Connection: close\r\n")

    async with serving(close_each) as port:
        outcome = await drive(plan(port, count=40))
    assert (outcome.statuses, outcome.errors) == ({200: 40}, {})


async def test_an_answer_without_a_length_is_an_error() -> None:
    async def endless(_number: int, _request: bytes) -> bytes:
        return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async with serving(endless) as port:
        outcome = await drive(plan(port, connections=1, count=3))
    assert outcome.errors == {"answer_without_length": 3}


async def test_a_life_is_one_conversation_of_two_requests() -> None:
    async def platform(_number: int, request: bytes) -> bytes:
        if request.startswith(b"POST /donations "):
            return answer(201, b'{"id":"d","payment_intent":{"id":"i"}}')
        return answer(200, b'{"status":"processed"}') if b"X-Signature: sha256=" in request else answer(401)

    async with serving(platform) as port:
        outcome = await drive(plan(port, script=LIVES, connections=50, count=50))
    assert outcome.statuses == {201: 50, 200: 50}
    assert len(latencies(outcome)) == outcome.tallies["accepted"] == 50


async def test_nobody_listening_is_said() -> None:
    async with serving(plainly) as port:
        gone = port
    with pytest.raises(UnreachableError, match=str(gone)):
        await drive(plan(gone))
    with pytest.raises(LoadError, match=str(gone)):
        await asyncio.to_thread(run_load, plan(gone))


async def test_processes_share_a_load_and_their_outcomes_become_one() -> None:
    async with serving(plainly) as port:
        load = await asyncio.to_thread(run_load, plan(port, count=301), processes=2)
    assert load.finished == load.statuses[200] == load.tallies["mark"] == 301
    assert load.latency is not None
    assert load.refused == 0
