"""What a saga is, what it hears and what it orders: the words in which `saga` decides. Pure."""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID, uuid5

import msgspec

from careforall.contracts.orders import OrderStatus

SagaType = Literal["CHECKOUT", "DIRECT", "CANCEL", "RETURN"]
SagaStatus = Literal["STARTED", "IN_PROGRESS", "COMPLETED", "COMPENSATING", "COMPENSATED", "FAILED"]
Step = Literal[
    "reserve", "lock", "pin", "authorise", "confirm", "capture", "redeem", "cancel", "refund", "release", "restock", "free"
]
Stage = Step | Literal["ready", "payer", "end"]
CheckoutState = Literal["VALIDATING", "RESERVED", "PAYING", "CONFIRMED", "PAYMENT_FAILED", "TIMEOUT", "RELEASED", "FAILED"]
Outcome = Literal["DONE", "OUT_OF_STOCK", "REFUSED", "NOT_HELD", "AUTHORIZED", "CAPTURED", "DECLINED", "PENDING", "ENDED", "AWAY"]
"""What came of a step. AWAY: its owner did not answer, and somebody is waiting for us; once money may move, nobody says so."""

CODE_VERSION = 1
FORWARD: tuple[Step, ...] = ("reserve", "lock", "pin", "authorise", "confirm", "capture", "redeem")
BACK: tuple[Step, ...] = ("cancel", "refund", "restock", "release", "free")
STEPS: tuple[Step, ...] = FORWARD + BACK
CART_BOUGHT = "cart_bought"
"""Why a checkout is called off whose cart became an order by another one."""
REPLACED = "replaced"
"""Why one is called off whose buyer went to the till again with the same cart."""
WAITS: frozenset[str] = frozenset({"ready", "payer"})
ENDED: frozenset[SagaStatus] = frozenset({"COMPLETED", "COMPENSATED", "FAILED"})


class Saga(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a saga stands. `done` are the steps whose effect is there; undoing one takes it out again."""

    id: UUID
    type: SagaType
    status: SagaStatus = "STARTED"
    stage: Stage = "reserve"
    done: frozenset[str] = frozenset()
    attempts: Mapping[str, int] = {}
    """How often each step was begun; a later try of a step is another step, with an id of its own."""
    holding: bool = False
    """Stock may be held or sold for it."""
    keeping: bool = False
    """A price and coupons may be kept for it."""
    coupons: bool = False
    """There are coupons among them, which are used up when the order is confirmed."""
    placed: bool = False
    """The order is written."""
    settled: bool = False
    """The order knows how it ended."""
    announced: bool = False
    """The order is told of, so that somebody may be paying."""
    paying: bool = False
    """The buyer asked to pay."""
    card: bool = False
    """There is a means of payment to authorise with."""
    declined: bool = False
    by_hand: bool = False
    """Staff says that it is paid otherwise."""
    ending: str = ""
    """Why it goes back."""
    cancelled: bool = False
    """It goes back because somebody wanted it to: the order is CANCELLED then, else FAILED."""

    def has(self, step: Step) -> bool:
        """Whether a step's effect is there."""
        return step in self.done

    @property
    def step(self) -> Step:
        """The step that is to be done now."""
        match self.stage:
            case "ready" | "payer" | "end":
                raise ValueError(f"a saga that is at {self.stage} has no step to do")
            case step:
                return step

    @property
    def waits(self) -> bool:
        """Whether it is the buyer's turn."""
        return self.stage in WAITS

    @property
    def ended(self) -> bool:
        """Whether there is nothing left to do."""
        return self.stage == "end"


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A step's owner said what came of it."""

    step: Step
    outcome: Outcome
    reason: str = ""


class PayAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The buyer wants to pay; with a card at once, else on the pay page. `relock`: the price is kept anew first."""

    card: bool
    relock: bool = False
    hold: bool = False
    """Keep the new price only: the buyer has to agree first."""


class PaymentTold(msgspec.Struct, frozen=True, kw_only=True):
    """Payments says how the order's intent stands."""

    status: Literal["AUTHORIZED", "CAPTURED", "ENDED"]


class PaidByHand(msgspec.Struct, frozen=True, kw_only=True):
    """Staff says that the money came another way."""


class Expired(msgspec.Struct, frozen=True, kw_only=True):
    """The time of a waiting saga is over."""


class CancelAsked(msgspec.Struct, frozen=True, kw_only=True):
    """The buyer or staff calls it off."""

    reason: str


SagaEvent = Answered | PayAsked | PaymentTold | PaidByHand | Expired | CancelAsked


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Write the order, PENDING."""


class Announce(msgspec.Struct, frozen=True, kw_only=True):
    """Tell of the order, so that it can be paid."""


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Move the order."""

    to: OrderStatus
    reason: str = ""


class Tell(msgspec.Struct, frozen=True, kw_only=True):
    """Tell of the checkout itself: it holds stock and price now."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """Do a step, as its so-manieth try."""

    step: Step
    attempt: int


Command = Place | Announce | Settle | Tell | Ask
Moved = tuple[Saga, tuple[Command, ...]]


def step_id(saga_id: UUID, step: str, attempt: int) -> UUID:
    """Return the id of a step, which is its idempotency key at whoever does it."""
    return uuid5(saga_id, step if attempt <= 1 else f"{step}:{attempt}")


def checkout_state(saga: Saga) -> CheckoutState:
    """Return what a buyer is told of a checkout."""
    if saga.has("capture"):
        return "FAILED" if saga.ending else "CONFIRMED"
    if saga.ended:
        return "TIMEOUT" if saga.ending == "expired" else "RELEASED" if saga.cancelled else "FAILED"
    if saga.stage == "ready":
        return "RESERVED"
    if saga.stage == "payer" and saga.declined:
        return "PAYMENT_FAILED"
    return "PAYING" if saga.paying else "VALIDATING"
