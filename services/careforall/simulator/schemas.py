"""What callers send to the simulated company; unknown parameters are refused, as such companies do."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from careforall.simulator.domain import CaptureMethod, EventSeen
from careforall.simulator.objects import IntentObject

Minor = Annotated[int, Meta(gt=0, le=10**15, description="Whole number of the currency's smallest unit.")]
Text = Annotated[str, Meta(max_length=500)]


class NewIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a payment intent."""

    amount: Minor
    currency: Annotated[str, Meta(min_length=3, max_length=3)]
    capture_method: CaptureMethod = "automatic"
    metadata: dict[str, str] = {}
    return_url: Annotated[str, Meta(max_length=2048)] = ""


class ConfirmIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Pay with a means of payment that the company knows by a token: `tok_ok`, `tok_declined` or `tok_later`."""

    payment_method: Annotated[str, Meta(min_length=1, max_length=200)]


class CaptureIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Take held money."""

    amount_to_capture: Minor | None = None


class CancelIntent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """End an intent."""

    cancellation_reason: Literal["duplicate", "fraudulent", "requested_by_customer", "abandoned"] | None = None


class NewRefund(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Send money back."""

    payment_intent: Annotated[str, Meta(min_length=1, max_length=100)]
    amount: Minor | None = None
    reason: Text | None = None
    metadata: dict[str, str] = {}


class Doing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a control action needs; each takes its own part."""

    amount: Minor | None = None
    outcome: Literal["won", "lost"] | None = None


class Storming(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often each event is sent at once."""

    times: Annotated[int, Meta(ge=1, le=10_000)] = 10


class Shuffling(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many rounds in which order."""

    times: Annotated[int, Meta(ge=1, le=1_000)] = 5
    seed: int = 0


class StoryOut(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with what was said about it and how that arrived."""

    payment_intent: IntentObject
    events: list[EventSeen]


class SentOut(msgspec.Struct, frozen=True, kw_only=True):
    """What the receiver answered: status, or the name of a failure, and how often."""

    sent: int
    answers: dict[str, int]


class ErrorOut(msgspec.Struct, frozen=True, kw_only=True):
    """A refusal in the company's shape."""

    type: str
    code: str
    message: str
    param: str | None = None
