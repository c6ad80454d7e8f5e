"""Whom the edge counts a request for: callers by what they cannot make up, and everybody only for what was not refused."""

from __future__ import annotations

from typing import Any

import pytest

from careforall.kit.errors import TooManyRequests, Unavailable
from careforall.kit.http.edge import Edge
from careforall.kit.http.identity import Principal, Verifier
from careforall.kit.http.limits import Limit, network_of
from careforall.kit.ids import new_id
from careforall.kit.settings import RateLimits
from careforall.kit.tracing import Tracing

OWNER = Principal(user_id=new_id(), email="admin1@example.org", role="USER", scopes=("donations:read",))


class Counts:
    """Counts hits as `Limiter` does, without a window."""

    def __init__(self) -> None:
        self.hits: dict[tuple[str, str], int] = {}

    async def hit_all(self, *counters: tuple[Limit, str]) -> None:
        for limit, key in counters:
            self.hits[limit.name, key] = self.hits.get((limit.name, key), 0) + 1
        if any(self.hits[limit.name, key] > limit.amount for limit, key in counters):
            raise TooManyRequests("too many", retry_after=1)

    def field(self, limit: Limit, _: str) -> str:
        return limit.name


async def _keys() -> bytes:
    raise Unavailable


async def _owner(key: str) -> Principal | None:
    return OWNER if key == "good" else None


async def _app(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


class House:
    """An edge with limits of three for a caller and ten for everybody."""

    def __init__(self, *, proxies: int = 0) -> None:
        self.counts = Counts()
        self.verifier = Verifier(_keys, _owner)
        rates = RateLimits(everyone=10, per_address=3, per_key=5)
        limiter: Any = self.counts
        tracing = Tracing("test", roots_per_second=0)
        self.edge = Edge(
            _app, hot=[], limiter=limiter, rates=rates, verifier=self.verifier, tracing=tracing, trusted_proxies=proxies
        )

    async def ask(self, address: str, key: str = "", forwarded: tuple[str, ...] = ()) -> int:
        status: list[int] = []

        async def send(message: Any) -> None:
            status.append(message.get("status", 0))

        async def receive() -> Any:
            return {"type": "http.disconnect"}

        headers = [(b"x-api-key", key.encode())] if key else []
        headers += [(b"x-forwarded-for", line.encode()) for line in forwarded]
        scope = {"type": "http", "method": "GET", "path": "/x", "query_string": b"", "headers": headers, "client": (address, 1)}
        await self.edge(scope, receive, send)
        return status[0]


@pytest.fixture
def house() -> House:
    return House()


async def test_what_is_refused_one_caller_is_not_counted_for_everybody(house: House) -> None:
    assert [await house.ask("192.0.2.1") for _ in range(30)] == [200] * 3 + [429] * 27
    assert await house.ask("192.0.2.2") == 200


async def test_made_up_keys_are_counted_by_address(house: House) -> None:
    assert [await house.ask("192.0.2.1", f"made up {number}") for number in range(4)] == [200, 200, 200, 429]


async def test_a_key_that_is_known_has_a_limit_of_its_own(house: House) -> None:
    await house.verifier.principal({b"x-api-key": b"good"})
    assert [await house.ask("192.0.2.1", "good") for _ in range(6)] == [200] * 5 + [429]
    assert await house.ask("192.0.2.1") == 200


async def test_a_customer_of_ipv6_is_one_caller(house: House) -> None:
    assert [await house.ask(f"2001:db8::{number}") for number in range(1, 5)] == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("0:0:0:0:0:ffff:c000:207", "192.0.2.7"),
        ("unknown", "unknown"),
    ],
)
def test_addresses_are_counted_by_customer(address: str, counted: str) -> None:
    assert network_of(address) == counted


@pytest.mark.parametrize(
    ("proxies", "lines", "counted"),
    [
        (1, ("10.0.0.1, 192.0.2.7",), "192.0.2.7"),
        (1, ("10.0.0.1, 192.0.2.7:50001",), "192.0.2.7"),
        (1, ("[2001:db8:1:2::3]:50001",), "2001:db8:1:2::/64"),
        (1, ("[2001:db8:1:2::3]",), "2001:db8:1:2::/64"),
        (2, ("10.0.0.1, 192.0.2.7", "198.51.100.1"), "192.0.2.7"),
        (1, ("10.0.0.1", "192.0.2.7"), "192.0.2.7"),
        (0, ("192.0.2.7",), "203.0.113.1"),
    ],
)
async def test_a_caller_is_the_same_however_proxies_write_it(proxies: int, lines: tuple[str, ...], counted: str) -> None:
    house = House(proxies=proxies)
    await house.ask("203.0.113.1", forwarded=lines)
    assert ("address", counted) in house.counts.hits
