"""Stripe's objects as they come over the wire, in answers and in events alike; the simulator speaks them too.

Only the fields we read, each with a default: what another object lacks, or an older or newer version of the API writes in another
way, must not make an event unreadable.
"""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from careforall.payments.gateways.base import Name

Minor = Annotated[int, msgspec.Meta(ge=0, le=10**15)]
"""An amount in a currency's smallest unit, small enough to be stored whatever the currency."""


class Decline(msgspec.Struct, frozen=True):
    """Why a try failed."""

    code: str | None = None
    decline_code: str | None = None
    message: str | None = None


class Thing(msgspec.Struct, frozen=True):
    """Any object: a payment intent, a checkout session, a refund, a dispute, a charge."""

    id: Name
    object: str = ""
    status: str | None = None
    livemode: bool | None = None
    created: Any = None
    amount: Minor | None = None
    amount_received: Minor | None = None
    currency: str | None = None
    metadata: Mapping[str, str] | None = None
    reason: str | None = None
    cancellation_reason: str | None = None
    failure_reason: str | None = None
    last_payment_error: Decline | None = None
    payment_intent: "Name | Thing | None" = None
    payment_method_types: list[str] | None = None
    latest_charge: "Name | Thing | None" = None
    balance_transaction: "Name | Thing | None" = None
    fee: Minor | None = None
    hosted_url: str | None = None
    url: str | None = None

    @property
    def intent_name(self) -> str:
        """The name of the payment intent this belongs to, itself if it is one; empty where there is none yet."""
        if isinstance(self.payment_intent, Thing):
            return self.payment_intent.id
        return self.payment_intent or (self.id if self.object == "payment_intent" else "")

    @property
    def settlement(self) -> "Thing | None":
        """What a payment intent's charge brings after fees, where the answer has it in it."""
        charge = self.latest_charge
        settled = charge.balance_transaction if isinstance(charge, Thing) else None
        return settled if isinstance(settled, Thing) else None

    def noted(self, name: str) -> str:
        """What we noted with the object when it was made."""
        return (self.metadata or {}).get(name, "")


class Things(msgspec.Struct, frozen=True):
    """One page of a list."""

    data: list[Thing]
    has_more: bool = False


class Subject(msgspec.Struct, frozen=True):
    """What an event is about."""

    object: msgspec.Raw


class Event(msgspec.Struct, frozen=True):
    """An event."""

    id: str
    type: str
    data: Subject
    created: Any = None
    livemode: bool = False


decode_event = msgspec.json.Decoder(Event).decode
decode_thing = msgspec.json.Decoder(Thing).decode
decode_things = msgspec.json.Decoder(Things).decode
