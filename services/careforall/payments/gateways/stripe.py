"""Stripe, by its own library. The payer goes to Stripe's hosted page, and no card number comes near us.

The object we open is a checkout session: it has the page's address, and it may be declined and paid again as often as it takes.
Stripe makes its payment intent when the payer first presses the button; from then on facts name that one, because the money, its
events, refunds and disputes hang on it. Every call here takes either name, and either can be asked how it stands at any time.
`intent_id` is noted with the session, the payment intent and each refund, so that whatever Stripe tells is traced to us.

Stripe keeps the first answer to an idempotency key for a day, also where that was a failure of its own: such a key is spent. What
became of its call is found by looking, and only where nothing did it is called anew, or known to have failed.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from uuid import UUID

from stripe.params.checkout import SessionCreateParams
from typing_extensions import override

from careforall.kit.ids import parse_id
from careforall.payments.domain import Fact, Intent, StateFact
from careforall.payments.gateways.base import (
    Gateway,
    GatewayObject,
    GatewayPage,
    GatewayRefund,
    GatewayRefused,
    GatewayUnknown,
)
from careforall.payments.gateways.stripe_calls import SpentKey, StripeCalls
from careforall.payments.gateways.stripe_facts import REFUND_STATES, STATES, StripeFacts, made_at
from careforall.payments.gateways.stripe_money import minor, places
from careforall.payments.gateways.stripe_shapes import Thing

_SESSION = "cs_"
_SKEW = timedelta(minutes=5)
_MOVED = frozenset({"succeeded", "canceled"})


class Stripe(Gateway):
    """Asks Stripe for what the service wants.

    Args:
        key: Secret or restricted key.
        livemode: Whether the key moves real money.
        base: Where the API answers instead of Stripe's own address; empty for that one.
        seconds: Deadline of one call.
    """

    name = "stripe"

    def __init__(self, key: str, *, livemode: bool, base: str, seconds: float) -> None:
        self.livemode = livemode
        self._facts = StripeFacts(livemode=livemode, places=places)
        self._calls = StripeCalls(key, base=base, seconds=seconds)

    @override
    async def open(self, intent: Intent, *, key: str, return_url: str) -> GatewayObject:
        try:
            session = await self._calls.make_session(_wanted(intent, key, return_url), key)
        except SpentKey:
            session = await self._opened_before(intent, key)
        return await self._shown(session.id, session, _inside(session))

    @override
    async def show(self, gateway_object: str) -> GatewayObject:
        session, paid = await self._found(gateway_object)
        return await self._shown(gateway_object, session, paid)

    @override
    async def capture(self, gateway_object: str, *, key: str) -> GatewayObject:
        name = await self._intent_name(gateway_object)
        paid = await self._moved(name, key, self._calls.capture)
        return GatewayObject(id=name, facts=self._state(paid), created_at=made_at(paid))

    @override
    async def cancel(self, gateway_object: str, *, key: str) -> GatewayObject:
        session, paid = await self._found(gateway_object)
        if session is not None and session.status == "open":
            ended = await self._ended(session.id, key)
            return await self._shown(gateway_object, ended, paid)
        if paid is not None and paid.status not in _MOVED and not _end(session, paid):
            paid = await self._moved(paid.id, key, self._calls.cancel)
        return await self._shown(gateway_object, session, paid)

    @override
    async def refund(self, intent: Intent, amount: Decimal, *, refund_id: UUID, reason: str) -> GatewayRefund:
        name = await self._intent_name(intent.gateway_object)
        noted = {"refund_id": str(refund_id), "intent_id": str(intent.id)}
        try:
            made = await self._calls.make_refund(
                {
                    "payment_intent": name,
                    "amount": minor(amount, intent.currency),
                    "reason": "requested_by_customer",
                    "metadata": noted,
                },
                str(refund_id),
            )
        except SpentKey:
            made = await self._refunded_before(name, refund_id)
        return _shown_refund(made)

    @override
    async def show_refund(self, gateway_refund_id: str) -> GatewayRefund:
        return _shown_refund(await self._calls.refund(gateway_refund_id))

    @override
    async def list_objects(self, since: datetime, until: datetime, *, after: str = "") -> GatewayPage:
        """List payment intents: a session without one was never paid and holds no money."""
        page = await self._calls.intents(since, until, after)
        objects = tuple(
            GatewayObject(id=one.id, facts=self._state(one), intent_id=_ours(one), created_at=made_at(one)) for one in page.data
        )
        return GatewayPage(objects=objects, next=page.data[-1].id if page.has_more and page.data else "")

    @override
    async def close(self) -> None:
        await self._calls.close()

    async def _found(self, name: str) -> tuple[Thing | None, Thing | None]:
        """Return a session and its payment intent, whichever is named; the session is left out where it can tell nothing more."""
        if name.startswith(_SESSION):
            session = await self._calls.session(name)
            return session, _inside(session)
        paid = await self._calls.intent(name)
        return (None if paid.status in STATES else await self._calls.session_of(name)), paid

    async def _intent_name(self, name: str) -> str:
        if not name.startswith(_SESSION):
            return name
        paid = _inside(await self._calls.session(name))
        if paid is None:
            raise GatewayRefused("nothing_paid", "Nobody has paid there yet.")
        return paid.id

    async def _shown(self, name: str, session: Thing | None, paid: Thing | None) -> GatewayObject:
        found = session or paid
        assert found is not None
        return GatewayObject(
            id=name,
            redirect_url=session.url or "" if session else "",
            facts=await self._told(session, paid),
            intent_id=_ours(found),
            created_at=made_at(found),
        )

    async def _told(self, session: Thing | None, paid: Thing | None) -> tuple[Fact, ...]:
        """Return all facts: the state of the money or the end of the page, and what happened to money that was taken."""
        state = self._facts.state(paid) if paid is not None else None
        if state is None:
            end = _end(session, paid)
            return (self._facts.ended(session, end),) if session is not None and end else ()
        if paid is None or not isinstance(state, StateFact) or state.target != "CAPTURED":
            return (state,)
        refunds = [self._facts.refund(one) for one in await self._calls.refunds_of(paid.id)]
        disputes = [self._facts.dispute(one) for one in await self._calls.disputes_of(paid.id)]
        return (state, *refunds, *disputes)

    def _state(self, paid: Thing) -> tuple[Fact, ...]:
        state = self._facts.state(paid)
        return (state,) if state is not None else ()

    async def _opened_before(self, intent: Intent, key: str) -> Thing:
        """Find the session that a spent key made; one that nobody found was shown to nobody either."""
        made = await self._calls.session_noted(key, intent.created_at - _SKEW)
        if made is None:
            raise GatewayRefused("gateway_error", "The gateway failed, and made nothing to pay.")
        return await self._calls.session(made.id)

    async def _refunded_before(self, name: str, refund_id: UUID) -> Thing:
        """Find the refund that a spent key made."""
        for made in await self._calls.refunds_of(name):
            if made.noted("refund_id") == str(refund_id):
                return made
        raise GatewayRefused("gateway_error", "The gateway failed, and sent nothing back.")

    async def _moved(self, name: str, key: str, call: Callable[[str, str], Awaitable[Thing]]) -> Thing:
        """Capture or cancel, which cannot happen twice: what a spent key did not move is called under another."""
        try:
            return await call(name, key)
        except SpentKey:
            paid = await self._calls.intent(name)
            return paid if paid.status in _MOVED else await call(name, f"{key}:again")

    async def _ended(self, name: str, key: str) -> Thing:
        """End a session, under a key of its own: the payment intent's may be needed later."""
        try:
            return await self._calls.expire(name, f"{key}:session")
        except SpentKey:
            session = await self._calls.session(name)
            return session if session.status != "open" else await self._calls.expire(name, f"{key}:session:again")


def _wanted(intent: Intent, key: str, return_url: str) -> SessionCreateParams:
    """Return what is to be paid, the same for each call on a key; in the currency asked for and no other."""
    noted = {"intent_id": str(intent.id)}
    return {
        "mode": "payment",
        "submit_type": "donate" if intent.subject_type == "DONATION" else "pay",
        "client_reference_id": str(intent.id),
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": intent.currency.lower(),
                    "unit_amount": minor(intent.amount, intent.currency),
                    "product_data": {"name": intent.title or intent.subject_type.capitalize()},
                },
            }
        ],
        "payment_intent_data": {
            "capture_method": "manual" if intent.subject_type == "ORDER" else "automatic",
            "metadata": noted,
        },
        "metadata": {**noted, "attempt": key},
        "adaptive_pricing": {"enabled": False},
        "success_url": return_url,
        "cancel_url": return_url.partition("?")[0],
    }


def _inside(session: Thing) -> Thing | None:
    """Return the payment intent that came with a session."""
    return session.payment_intent if isinstance(session.payment_intent, Thing) else None


def _end(session: Thing | None, paid: Thing | None) -> str:
    """Return why nobody can pay any more, empty while somebody can: over, or completed by a payment that failed afterwards."""
    if session is not None and session.status == "expired":
        return "expired"
    failed = paid is not None and paid.status == "requires_payment_method"
    return "payment_failed" if session is not None and session.status == "complete" and failed else ""


def _ours(found: Thing) -> UUID | None:
    return parse_id(found.noted("intent_id"))


def _shown_refund(made: Thing) -> GatewayRefund:
    status = REFUND_STATES.get(made.status or "")
    if status is None:
        raise GatewayUnknown(f"refund is {made.status}")
    return GatewayRefund(id=made.id, status=status)
