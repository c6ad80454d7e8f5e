"""Lines over real sockets: kept, limited, never shared by two requests, and closed as soon as anything is odd."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from careforall.kit.http.lines import ConnectError, HungUp, LineError, Lines, Nonsense, Overdue
from careforall.launch.ports import free_port
from careforall_testing.certificates import Authority
from careforall_testing.paypal_signing import CertificateHost

OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
MANY = 60


class House:
    """A server that answers each request as a test decides; it counts connections and what is under way."""

    def __init__(self, answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]) -> None:
        self._answer = answer
        self.opened = 0
        self.closed = 0
        self.busy = 0
        self.most_busy = 0
        self.heads: list[bytes] = []
        self.bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0]
                self.heads.append(head)
                self.bodies.append(await reader.readexactly(int(length or 0)))
                self.busy += 1
                self.most_busy = max(self.busy, self.most_busy)
                await self._answer(head, writer)
                self.busy -= 1
        except (asyncio.IncompleteReadError, ConnectionError):
            return
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def standing(answer: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[tuple[House, str]]:
    house = House(answer)
    server = await asyncio.start_server(house.serve, "127.0.0.1", 0)
    async with server:
        yield house, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def echo(head: bytes, writer: asyncio.StreamWriter) -> None:
    """Answer with the target."""
    target = head.split(b" ")[1]
    await asyncio.sleep(0.005)
    writer.write(OK % (len(target), target))


async def test_a_crowd_shares_a_few_kept_lines_and_everybody_gets_their_own_answer() -> None:
    async with standing(echo) as (house, url):
        lines = Lines(f"{url}/root", most=4, seconds=5, headers={"Authorization": "Bearer x"})
        replies = await asyncio.gather(*(lines.ask("POST", f"/{one}", b"{}", {"Idempotency-Key": "k"}) for one in range(MANY)))
        await lines.close()
    assert [reply.body for reply in replies] == [b"/root/%d" % one for one in range(MANY)]
    assert (house.opened, house.most_busy) == (4, 4)
    assert house.bodies == [b"{}"] * MANY
    for field in (
        b"\r\nHost: " + url.removeprefix("http://").encode(),
        b"\r\nAuthorization: Bearer x",
        b"\r\nIdempotency-Key: k",
    ):
        assert field in house.heads[0]


async def test_a_lone_caller_keeps_one_line() -> None:
    async with standing(echo) as (house, url):
        lines = Lines(f"{url}/hook?a=1 2", most=4, seconds=5)
        assert [(await lines.ask("GET", "")).body for _ in range(3)] == [b"/hook?a=1+2"] * 3
        await lines.close()
    assert house.opened == 1


def test_lines_run_on_the_loop_of_the_services_too() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(test_a_lone_caller_keeps_one_line())


async def test_lines_unused_are_closed() -> None:
    async with standing(echo) as (house, url):
        lines = Lines(url, most=3, seconds=5, kept=0.2)
        await asyncio.gather(*(lines.ask("POST", "/crowd") for _ in range(3)))
        async with asyncio.timeout(10):
            while house.closed < 3:
                await asyncio.sleep(0.05)
        await lines.ask("POST", "/later")
        await lines.close()
    assert house.opened == 4


async def test_a_late_answer_is_never_given_to_the_next_caller() -> None:
    async def slow_once(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in head:
            await asyncio.sleep(0.3)
        await echo(head, writer)

    async with standing(slow_once) as (house, url):
        lines = Lines(url, most=1, seconds=0.1)
        with pytest.raises(Overdue):
            await lines.ask("POST", "/slow")
        assert (await lines.ask("POST", "/next")).body == b"/next"
        await asyncio.sleep(0.3)
        assert (await lines.ask("POST", "/last")).body == b"/last"
        await lines.close()
    assert house.opened == 2


async def test_a_caller_who_leaves_takes_the_line_along() -> None:
    async with standing(echo) as (house, url):
        lines = Lines(url, most=1, seconds=5)
        leaving = asyncio.ensure_future(lines.ask("POST", "/left"))
        async with asyncio.timeout(5):
            while not house.busy:
                await asyncio.sleep(0)
        leaving.cancel()
        assert (await lines.ask("POST", "/next")).body == b"/next"
        await lines.close()
    assert house.opened == 2


async def test_words_nobody_asked_for_close_the_line() -> None:
    async def twice(head: bytes, writer: asyncio.StreamWriter) -> None:
        await echo(head, writer)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.write(OK % (5, b"/evil"))

    async with standing(twice) as (house, url):
        lines = Lines(url, most=1, seconds=5)
        for target in ("/1", "/2"):
            assert (await lines.ask("POST", target)).body == target.encode()
            await asyncio.sleep(0.15)
        await lines.close()
    assert house.opened == 2


@pytest.mark.parametrize("words", [b"Connection: close\r\n", b""])
async def test_a_line_the_server_closes_is_replaced(words: bytes) -> None:
    async def once(head: bytes, writer: asyncio.StreamWriter) -> None:
        del head
        writer.write(b"HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nok" % words)
        await writer.drain()
        writer.close()

    async with standing(once) as (house, url):
        lines = Lines(url, most=1, seconds=5)
        for _ in range(3):
            assert (await lines.ask("POST", "/")).body == b"ok"
            await asyncio.sleep(0.05)
        await lines.close()
    assert house.opened == 3


@pytest.mark.parametrize(("method", "arrivals"), [("POST", 2), ("GET", 3)])
async def test_only_what_changes_nothing_is_sent_again_when_a_kept_line_breaks(method: str, arrivals: int) -> None:
    async def second_breaks(head: bytes, writer: asyncio.StreamWriter) -> None:
        if len(house.heads) == 2:
            writer.close()
        else:
            await echo(head, writer)

    async with standing(second_breaks) as (house, url):
        lines = Lines(url, most=1, seconds=5)
        await lines.ask("POST", "/first")
        if method == "POST":
            with pytest.raises(HungUp):
                await lines.ask(method, "/second")
        else:
            assert (await lines.ask(method, "/second")).body == b"/second"
        await lines.close()
    assert len(house.heads) == arrivals


async def test_nothing_is_added_followed_or_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    async def elsewhere(head: bytes, writer: asyncio.StreamWriter) -> None:
        del head
        said = b"Location: /there\r\nSet-Cookie: a=b\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n"
        writer.write(b"HTTP/1.1 302 Found\r\n%s\r\nnone" % said)

    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    async with standing(elsewhere) as (house, url):
        lines = Lines(url, most=1, seconds=5, headers={"Content-Type": "application/json"})
        for _ in range(2):
            reply = await lines.ask("POST", "/", b"{}")
            assert (reply.status, reply.body) == (302, b"none")
        await lines.close()
    host = url.removeprefix("http://").encode()
    assert (
        house.heads == [b"POST / HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n" % host] * 2
    )


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", HungUp),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", HungUp),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", Nonsense),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxy", Nonsense),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", Nonsense),
        (b"HTTP/1.1 200 OK\r\n\r\n" + bytes(9 * 1024 * 1024), Nonsense),
    ],
)
async def test_what_is_no_answer_is_an_error(said: bytes, error: type[LineError]) -> None:
    async def odd(head: bytes, writer: asyncio.StreamWriter) -> None:
        del head
        writer.write(said)
        writer.close()

    async with standing(odd) as (_, url):
        lines = Lines(url, most=1, seconds=5)
        with pytest.raises(error):
            await lines.ask("POST", "/")
        await lines.close()


async def test_an_answer_may_end_with_its_connection() -> None:
    async def until_the_end(head: bytes, writer: asyncio.StreamWriter) -> None:
        del head
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        await writer.drain()
        writer.close()

    async with standing(until_the_end) as (_, url):
        lines = Lines(url, most=1, seconds=5)
        assert (await lines.ask("POST", "/")).body == b"all of it"
        await lines.close()


@pytest.mark.parametrize(
    "base",
    [f"http://127.0.0.1:{free_port()}", "ftp://127.0.0.1", "127.0.0.1/x", "http://", "http://x:port", "http://nowhere.invalid"],
    ids=["nobody-listens", "ftp", "no-scheme", "no-host", "no-port", "no-such-name"],
)
async def test_a_place_that_cannot_be_reached_is_told_apart(base: str) -> None:
    lines = Lines(base, most=1, seconds=5)
    with pytest.raises(ConnectError):
        await lines.ask("POST", "/")
    await lines.close()


async def test_a_place_that_nobody_vouches_for_is_told_nothing() -> None:
    async with CertificateHost(b"").serving(Authority()) as host:
        lines = Lines(host.url, most=1, seconds=5)
        with pytest.raises(ConnectError, match="certificate"):
            await lines.ask("POST", "/")
        await lines.close()
    assert host.asked == []


@pytest.mark.parametrize(
    ("target", "sent"), [("/a b", b"/a%20b"), ("/\r\nX: 1", b"/X:%201"), ("/é", b"/%C3%A9"), ("/a%2Fb?c%5B", b"/a%2Fb?c%5B")]
)
async def test_a_target_stays_in_its_place(target: str, sent: bytes) -> None:
    async with standing(echo) as (house, url):
        lines = Lines(url, most=1, seconds=5)
        assert (await lines.ask("POST", target)).body == sent
        await lines.close()
    assert b"\r\nX" not in house.heads[0]


@pytest.mark.parametrize("headers", [{"X": "1\r\nY: 2"}, {"X\n": "1"}])
async def test_a_header_that_would_break_out_is_refused(headers: dict[str, str]) -> None:
    async with standing(echo) as (house, url):
        lines = Lines(url, most=1, seconds=5)
        with pytest.raises(ValueError, match="control character"):
            await lines.ask("POST", "/", headers=headers)
        assert (await lines.ask("POST", "/after")).status == 200
        await lines.close()
    assert [head.split()[1] for head in house.heads] == [b"/after"]
