"""What the service asks of a gateway, and the three answers there are: it did, it refused, or nobody knows.

`calls.Caller` retries, limits and breaks; the modules beside it only translate.
"""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Protocol
from uuid import UUID

import msgspec

from careforall.kit.text import looks_like_card_number
from careforall.payments.domain import Fact, Intent, RefundStatus

ASKED_ABOUT = frozenset({"approved", "declined", "voided"})
"""Reasons of events without a fact that have the open attempt of their object asked about at once."""
PAGE_ONLY = "page_only"
"""Code of the refusal to be paid by a token."""

Name = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[!-~]+\Z")]
"""An object's name, which is compared and asked for: taken as it is or not at all, never made plain like a text."""
AnyName = Annotated[str, msgspec.Meta(max_length=200, pattern=r"\A[!-~]*\Z")]
"""The same where there may be none."""


class _Coded(Exception):
    """Something that did not happen, with the reason as a code."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class GatewayRefused(_Coded):
    """The gateway answered that it did not do it: nothing moved."""


class GatewayNotAsked(_Coded):
    """The gateway is away or busy and was not asked: nothing happened, and asking later may help.

    No kind of refusal: it says nothing of what was to be asked about.
    """


class GatewayUnknown(Exception):
    """No answer that can be relied on: it may or may not have happened; only asking tells."""


class GatewayDeclined(GatewayRefused):
    """The means of payment was declined; the object stays payable."""


class GatewayObject(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's side of an intent.

    `facts` is all it says about the money, in the order it happened: the state, then each refund and each dispute; empty while
    nothing has happened. `intent_id` is the intent it was made for, where the gateway keeps that for us.
    """

    id: str
    redirect_url: str = ""
    facts: tuple[Fact, ...] = ()
    intent_id: UUID | None = None
    created_at: datetime | None = None


class GatewayPage(msgspec.Struct, frozen=True, kw_only=True):
    """Some of a gateway's objects; `next` names where the rest begins, empty after the last page."""

    objects: tuple[GatewayObject, ...]
    next: str = ""


class GatewayRefund(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's side of a refund."""

    id: str
    status: RefundStatus


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook event translated into our words; `flaw` tells why a body could not be understood."""

    event_id: str = ""
    event_type: str = ""
    payment_id: UUID | None = None
    gateway_object: str = ""
    fact: Fact | None = None
    flaw: str = ""
    pointer: str = ""


def plain(text: str, limit: int = 200) -> str:
    """Return what a gateway wrote as text that can be stored and shown: no control characters, no card numbers."""
    kept = text[:limit]
    if not kept.isprintable():
        kept = "".join(character if character.isprintable() else " " for character in kept)
    return "[redacted]" if looks_like_card_number(kept) else kept


class Gateway(Protocol):
    """One company that moves money. All calls may raise GatewayRefused, GatewayNotAsked or GatewayUnknown."""

    name: str
    livemode: bool
    """Whether it moves real money; test and live never mix."""

    async def open(self, intent: Intent, *, key: str, return_url: str) -> GatewayObject:
        """Make the object a payer can pay, or return it where this key made it before."""

    async def show(self, gateway_object: str) -> GatewayObject:
        """Ask how it stands."""

    async def pay(self, gateway_object: str, token: str, *, key: str) -> GatewayObject:
        """Pay an object by the gateway's token for a means of payment, without its page.

        Raises:
            GatewayDeclined: The means of payment was declined.
            GatewayRefused: Also where a company takes payers to its own page only.
        """
        del gateway_object, token, key
        raise GatewayRefused(PAGE_ONLY, "This company takes payers to its own page.")

    async def capture(self, gateway_object: str, *, key: str) -> GatewayObject:
        """Take the money that is held."""

    async def cancel(self, gateway_object: str, *, key: str) -> GatewayObject:
        """Release what is held and end the object."""

    async def refund(self, intent: Intent, amount: Decimal, *, refund_id: UUID, reason: str) -> GatewayRefund:
        """Send money back; the refund's id is the key."""

    async def show_refund(self, gateway_refund_id: str) -> GatewayRefund:
        """Ask how a refund stands."""

    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        """Return one page of the objects made in a time, without their refunds and disputes where those cost a call each."""

    async def list_changed(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        """Return one page of the refunds and disputes made in a time, each as its object with that one fact.

        A company that has no such list tells of them by webhook and whenever the object itself is shown.
        """
        del since, until, after
        return GatewayPage(objects=())

    async def close(self) -> None:
        """Close connections."""
