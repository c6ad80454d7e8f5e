"""A load balancer reduced to what a client can do: send to ready processes only, and elsewhere where nobody accepts.

async with balancing([first, second]) as balancer:
    await balancer.request("GET", "/livez")
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from careforall_testing.platform import Served

LOOK_EVERY_S = 0.05
PATIENCE_S = 30.0


class Balancer:
    """Spreads requests over processes in turn.

    A request is repeated elsewhere only if its connection was refused: what a process accepted, it must answer.
    """

    def __init__(self, processes: Sequence[Served], client: httpx2.AsyncClient) -> None:
        self._processes = list(processes)
        self._client = client
        self._ready: set[str] = set()
        self._turn = 0
        self.answered: dict[str, int] = {process.url: 0 for process in processes}

    async def request(self, method: str, path: str, /, **request: Any) -> httpx2.Response:
        """Send a request to the next process that is ready.

        Raises:
            TimeoutError: Nobody accepted it in time.
        """
        async with asyncio.timeout(PATIENCE_S):
            while True:
                url = await self._next()
                try:
                    answer = await self._client.request(method, f"{url}{path}", **request)
                except httpx2.ConnectError:
                    self._ready.discard(url)
                    continue
                self.answered[url] += 1
                return answer

    async def watch(self) -> None:
        """Ask every process whether it is ready, again and again."""
        while True:
            await asyncio.gather(*(self._look(process.url) for process in self._processes))
            await asyncio.sleep(LOOK_EVERY_S)

    async def _next(self) -> str:
        while True:
            for _ in self._processes:
                self._turn = (self._turn + 1) % len(self._processes)
                if (url := self._processes[self._turn].url) in self._ready:
                    return url
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look(self, url: str) -> None:
        try:
            ready = (await self._client.get(f"{url}/readyz")).is_success
        except httpx2.HTTPError:
            ready = False
        if ready:
            self._ready.add(url)
        else:
            self._ready.discard(url)


@asynccontextmanager
async def balancing(processes: Sequence[Served]) -> AsyncIterator[Balancer]:
    """A balancer that watches its processes; each request has a connection of its own."""
    limits = httpx2.Limits(max_keepalive_connections=0)
    async with httpx2.AsyncClient(trust_env=False, timeout=15, limits=limits) as client:
        balancer = Balancer(processes, client)
        watching = asyncio.create_task(balancer.watch())
        try:
            yield balancer
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
