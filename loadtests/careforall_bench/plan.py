"""What a load is: address, shape, limits and the conversation to hold; crosses to the generator processes as data."""

import ipaddress
import math

from msgspec import Struct

ONE_AMOUNT = "5.00"
MOST_SECONDS = 300.0
MOST_CONVERSATIONS = 5_000_000
MOST_CONNECTIONS = 1024


class PlanError(ValueError):
    """The load asked for is not one this generator may run."""


class Repeat(Struct, frozen=True, kw_only=True, tag="repeat"):
    """The same GET paths over and over; `marks` are pieces of text counted in the answers."""

    paths: list[str]
    marks: list[str] = []


class Donations(Struct, frozen=True, kw_only=True, tag="donations"):
    """New gifts, each by its own donor; `keep` returns the payment intents' ids."""

    path: str
    campaigns: list[str]
    currency: str
    token: str
    amounts: tuple[str, ...] = (ONE_AMOUNT,)
    keep: bool = False
    idempotent: bool = False


class Reservations(Struct, frozen=True, kw_only=True, tag="reservations"):
    """One unit of one SKU each, each by its own holder under its own key; `authorization` is the bearer token."""

    path: str
    sku: str
    token: str
    authorization: str


class Buyer(Struct, frozen=True, kw_only=True):
    """Somebody who is signed in and has an address to send things to."""

    authorization: str
    address: str


class CartAdditions(Struct, frozen=True, kw_only=True, tag="cart-additions"):
    """One product each into a new guest's cart, in the order of the list."""

    path: str
    skus: list[str]


class Checkouts(Struct, frozen=True, kw_only=True, tag="checkouts"):
    """Whole purchases: something into the cart, to the till, paid by a token; each buyer buys again once it is through."""

    api: str
    buyers: list[Buyer]
    skus: list[str]
    token: str


class Webhooks(Struct, frozen=True, kw_only=True, tag="webhooks"):
    """One signed SUCCESS per payment intent, in the order of the list; the same token means the same events."""

    path: str
    secret: str
    intents: list[str]
    amount: str
    currency: str
    token: str
    timestamp: str
    """When the gateway says it happened; part of the signed bytes, so that a repeat is one byte for byte."""


class Lives(Struct, frozen=True, kw_only=True, tag="lives"):
    """A gift and then, on its answer, the signed SUCCESS for its payment intent."""

    donations: Donations
    webhook_path: str
    secret: str


Script = Repeat | Donations | Reservations | CartAdditions | Checkouts | Webhooks | Lives


class Plan(Struct, frozen=True, kw_only=True):
    """One load: closed loop with `connections` callers, or open loop when `rate` (conversations/s) is given."""

    host: str
    port: int
    script: Script
    seconds: float
    connections: int = 64
    count: int = MOST_CONVERSATIONS
    rate: float | None = None
    patience: float = 10.0
    first: int = 0

    def __post_init__(self) -> None:
        require_loopback(self.host)
        if not 0 < self.seconds <= MOST_SECONDS:
            raise PlanError(f"a load lasts more than 0 and at most {MOST_SECONDS:.0f} s")
        if not 1 <= self.connections <= MOST_CONNECTIONS:
            raise PlanError(f"a load takes 1 to {MOST_CONNECTIONS} connections")
        if not 1 <= self.count <= MOST_CONVERSATIONS:
            raise PlanError(f"a load has 1 to {MOST_CONVERSATIONS} conversations")
        if self.rate is not None and not 0 < self.rate <= MOST_CONVERSATIONS / MOST_SECONDS * 10:
            raise PlanError("an open loop needs a positive rate within reason")

    @property
    def planned(self) -> int:
        """Conversations an open loop begins; the upper bound of a closed one."""
        if self.rate is None:
            return self.count
        return max(1, min(self.count, math.floor(self.rate * self.seconds)))


def require_loopback(host: str) -> None:
    """Refuse every address but this machine's own: a load generator pointed elsewhere is an attack."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback:
        raise PlanError(f"loads go to this machine only, not to {host!r}")


def split(plan: Plan, processes: int) -> list[Plan]:
    """The plan's shares for several generator processes; numbering never overlaps."""
    if not 1 <= processes <= plan.connections:
        raise PlanError("each process needs a connection of its own")
    connections, counts = _shares(plan.connections, processes), _shares(plan.count, processes)
    firsts = [sum(counts[:index]) for index in range(processes)]
    return [
        _share(plan, connections=connections[index], count=counts[index], first=firsts[index], of=processes)
        for index in range(processes)
        if counts[index]
    ]


def _share(plan: Plan, *, connections: int, count: int, first: int, of: int) -> Plan:
    return Plan(
        host=plan.host,
        port=plan.port,
        script=plan.script,
        seconds=plan.seconds,
        connections=connections,
        count=count,
        rate=None if plan.rate is None else plan.rate / of,
        patience=plan.patience,
        first=plan.first + first,
    )


def _shares(total: int, parts: int) -> list[int]:
    return [total // parts + (index < total % parts) for index in range(parts)]
