"""How every gateway is called: at most so many at once, back-off with jitter on the same key, and a breaker.

A call that the breaker or the bulkhead turned away was never sent, which is a known outcome: nothing happened.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from careforall.kit import context
from careforall.kit.cache import Breaker
from careforall.kit.tracing import Tracing
from careforall.payments.gateways.base import GatewayNotAsked, GatewayRefused, GatewayUnknown

T = TypeVar("T")


class Caller:
    """Calls one gateway.

    Args:
        name: The gateway.
        tries: Calls on one key before the outcome is left unknown.
        seconds: Deadline of one call.
        at_once: Calls at the same time; further ones wait for a free place as long as a call may take.
    """

    def __init__(self, name: str, tracing: Tracing, *, tries: int, seconds: float, at_once: int) -> None:
        self._name = name
        self._tracing = tracing
        self._tries = tries
        self._seconds = seconds
        self._places = asyncio.Semaphore(at_once)
        self._breaker = Breaker(f"gateway_{name}", failures=5, pause=5.0)

    async def __call__(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call that may be repeated: it carries the same idempotency key each time.

        Raises:
            GatewayRefused: The gateway did not do it, or was never asked.
            GatewayUnknown: It may have happened.
        """
        sent = False
        for attempt in range(self._tries):
            if not self._breaker.closed:
                break
            try:
                async with asyncio.timeout(self._seconds):
                    await self._places.acquire()
            except TimeoutError:
                break
            sent = True
            try:
                return await self._once(what, call)
            except GatewayUnknown:
                if attempt + 1 == self._tries:
                    raise
            finally:
                self._places.release()
            await asyncio.sleep(random.uniform(0.05, 0.1) * 2**attempt)  # noqa: S311 - jitter, not a secret
        if sent:
            raise GatewayUnknown(f"{self._name} stopped answering")
        raise GatewayNotAsked("gateway_unavailable", f"{self._name} cannot be asked now")

    async def _once(self, what: str, call: Callable[[], Awaitable[T]]) -> T:
        parent = context.current().traceparent
        with self._tracing.span(f"{self._name} {what}", parent, answers=(GatewayRefused, GatewayNotAsked), gateway=self._name):
            try:
                async with asyncio.timeout(self._seconds):
                    result = await call()
            except TimeoutError:
                self._breaker.failed()
                raise GatewayUnknown(f"{self._name} did not answer in {self._seconds} s") from None
            except GatewayUnknown:
                self._breaker.failed()
                raise
            except (GatewayRefused, GatewayNotAsked):
                self._breaker.succeeded()
                raise
        self._breaker.succeeded()
        return result
