"""A crowd of buyers in processes of their own: this module runs one, or starts several and collects what each was told.

seen = await gather([Share(url=..., tokens=..., ...), ...])
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import time
from collections.abc import Sequence

import httpx2
import msgspec
import uvloop
from msgspec import Struct

from careforall.drills.asking import Asker
from careforall.drills.buyers import BOUGHT, Buyer, Placed
from careforall.drills.errors import Unexpected
from careforall.drills.paying import pay
from careforall.drills.people import bearer
from careforall.drills.polling import NotInTime
from careforall.drills.rush import clicked, rush
from careforall.kit.pipes import write_all

TIMEOUT_S = 30.0
SOLD_OUT, UNPAID, UNANSWERED = "SOLD_OUT", "UNPAID", "UNANSWERED"


class Share(Struct, frozen=True, kw_only=True):
    """The buyers of one process."""

    url: str
    sku: str
    tokens: list[str]
    """The access token of each buyer."""
    first: int
    """The number of the first buyer."""
    name: str
    """Marks the orders of this crowd."""
    seed: int
    ordering: int
    """How many order at the same time."""
    paying: int
    """How many pay at the same time."""
    patience_s: float


class Told(Struct, frozen=True, kw_only=True):
    """What one buyer was told in the end, and every order they heard of."""

    answer: str
    """The state of the order, SOLD_OUT, UNPAID, or UNANSWERED."""
    orders: list[Placed] = []
    reason: str = ""

    @property
    def bought(self) -> bool:
        """Whether they have what they wanted."""
        return self.answer == BOUGHT


class Seen(Struct, frozen=True, kw_only=True):
    """What a process saw."""

    told: list[Told]
    requests: int
    seconds: float
    """Until the last buyer knew whether there was something left."""


class Crowd:
    """The buyers of one process: all order as fast as they are let, and who got something pays meanwhile."""

    def __init__(self, share: Share, client: httpx2.AsyncClient) -> None:
        self._share = share
        self._client = client
        self._told: list[Told] = []
        self._cashiers = asyncio.Semaphore(share.paying)
        self._paying: list[asyncio.Task[None]] = []
        self._requests = 0

    async def buy(self) -> Seen:
        """Let everybody come to an end."""
        began = time.monotonic()
        await rush(range(len(self._share.tokens)), self._come, workers=self._share.ordering)
        seconds = time.monotonic() - began
        await asyncio.gather(*self._paying)
        return Seen(told=self._told, requests=self._requests, seconds=seconds)

    async def _come(self, index: int) -> None:
        number = self._share.first + index
        chance = random.Random(f"{self._share.seed} {number}")  # noqa: S311 - clicks to repeat, not a secret
        buyer = Buyer(
            Asker(self._client.request),
            bearer(self._share.tokens[index]),
            sku=self._share.sku,
            token=f"{self._share.name}-{number}",
            patience_s=self._share.patience_s,
        )
        try:
            answers = await clicked(buyer.order, chance)
        except NotInTime as error:
            self._leave(buyer, Told(answer=UNANSWERED, reason=str(error)))
            return
        orders = sorted({placed.order_id: placed for placed in answers if placed is not None}.values(), key=_order_id)
        if not orders:
            self._leave(buyer, Told(answer=SOLD_OUT))
        elif None in answers:
            self._leave(buyer, Told(answer=UNANSWERED, orders=orders, reason="one click got an order, the other none"))
        else:
            self._paying.append(asyncio.create_task(self._pay(buyer, orders)))

    async def _pay(self, buyer: Buyer, orders: list[Placed]) -> None:
        try:
            async with self._cashiers:
                paid = await pay(buyer.asker, orders[0].intent_id)
                answer = await buyer.ended(orders[0]) if paid else UNPAID
        except NotInTime as error:
            self._leave(buyer, Told(answer=UNANSWERED, orders=orders, reason=str(error)))
        else:
            self._leave(buyer, Told(answer=answer, orders=orders))

    def _leave(self, buyer: Buyer, told: Told) -> None:
        self._requests += len(buyer.asker.answers)
        self._told.append(told)


async def gather(shares: Sequence[Share]) -> list[Seen]:
    """Run each share in a process of its own.

    Raises:
        Unexpected: A process failed.
    """
    processes = [_start() for _ in shares]
    try:
        return await asyncio.gather(
            *(asyncio.to_thread(_seen, process, share) for process, share in zip(processes, shares, strict=True))
        )
    finally:
        for process in processes:
            process.kill()


def _start() -> subprocess.Popen[bytes]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-m", __name__], stdin=pipe, stdout=pipe, stderr=pipe)  # noqa: S603 - ourselves


def _seen(process: subprocess.Popen[bytes], share: Share) -> Seen:
    """Hand a process its share, and wait for what it saw."""
    out, error = process.communicate(msgspec.msgpack.encode(share))
    if process.returncode:
        raise Unexpected(f"a crowd of buyers ended with status {process.returncode}: {error.decode(errors='replace')[-800:]}")
    return msgspec.msgpack.decode(out, type=Seen)


def _order_id(placed: Placed) -> str:
    return placed.order_id


async def _run(share: Share) -> Seen:
    most = share.ordering + share.paying
    limits = httpx2.Limits(max_connections=2 * most, max_keepalive_connections=2 * most)
    async with httpx2.AsyncClient(base_url=share.url, trust_env=False, timeout=TIMEOUT_S, limits=limits) as client:
        return await Crowd(share, client).buy()


def main() -> None:
    """Read a share from standard input, and write what its buyers saw to standard output."""
    share = msgspec.msgpack.decode(sys.stdin.buffer.read(), type=Share)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        seen = runner.run(_run(share))
    write_all(sys.stdout.fileno(), msgspec.msgpack.encode(seen))


if __name__ == "__main__":
    main()
