"""The gateways of a process with their callers, by name."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import msgspec

from careforall.kit.tracing import Tracing
from careforall.payments.domain import GENERIC
from careforall.payments.gateways.base import Gateway, GatewayNotAsked
from careforall.payments.gateways.calls import Caller

T = TypeVar("T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How patiently gateways are called."""

    tries: int
    seconds: float
    at_once: int

    @property
    def longest(self) -> float:
        """Seconds a call with all its repeats may take."""
        return (self.seconds * 2 + 1) * self.tries


class Gateways:
    """All gateways this process may call."""

    def __init__(self, gateways: Mapping[str, Gateway], tracing: Tracing, limits: Limits) -> None:
        self.limits = limits
        self._gateways = gateways
        self._callers = {
            name: Caller(name, tracing, tries=limits.tries, seconds=limits.seconds, at_once=limits.at_once) for name in gateways
        }

    @property
    def askable(self) -> tuple[str, ...]:
        """Names of the companies that can be asked; the generic channel can only tell."""
        return tuple(name for name in self._gateways if name != GENERIC)

    @property
    def live(self) -> frozenset[str]:
        """Names of the companies that move real money."""
        return frozenset(name for name, gateway in self._gateways.items() if gateway.livemode)

    async def call(self, name: str, what: str, ask: Callable[[Gateway], Awaitable[T]]) -> T:
        """Call a gateway by name.

        Raises:
            GatewayRefused: It did not do it.
            GatewayNotAsked: It was never asked.
            GatewayUnknown: It may have happened.
        """
        gateway = self._gateways.get(name)
        if gateway is None:
            raise GatewayNotAsked("gateway_not_configured", f"{name} is not set up here")
        return await self._callers[name](what, lambda: ask(gateway))

    async def close(self) -> None:
        """Close all connections."""
        for gateway in self._gateways.values():
            await gateway.close()
