"""Stripe's API as we use it: the calls of its library, their answers in our shapes, its errors as refused or unknown."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

import msgspec
import stripe
from stripe.params import DisputeListParams, PaymentIntentListParams, RefundCreateParams, RefundListParams
from stripe.params.checkout import SessionCreateParams, SessionListParams

from careforall.kit.stripe.api import StripeApi, body_of, is_spent
from careforall.payments.gateways.base import GatewayRefused, GatewayUnknown, plain
from careforall.payments.gateways.stripe_shapes import Thing, Things, decode_thing, decode_things

T = TypeVar("T")

_PAGE = 100
_SETTLED = "latest_charge.balance_transaction"
"""What is asked for along with a payment intent: Stripe tells its fee nowhere else, and not at once."""
_PAID_IN_SESSION = f"payment_intent.{_SETTLED}"


class SpentKey(GatewayUnknown):
    """This key's first answer was a failure of Stripe's, which it will get again for a day: look what became of it."""


class StripeCalls:
    """The calls.

    Args:
        key: Secret or restricted key.
        base: Where the API answers instead of Stripe's own address; empty for that one.
        seconds: Deadline of one call.
    """

    def __init__(self, key: str, *, base: str, seconds: float) -> None:
        self._stripe = StripeApi(key, base=base, seconds=seconds)
        self._api = self._stripe.v1

    async def make_session(self, wanted: SessionCreateParams, key: str) -> Thing:
        """Make a checkout session, or get the one this key made."""
        return await _asked(self._api.checkout.sessions.create_async(wanted, {"idempotency_key": key}), decode_thing)

    async def session(self, name: str) -> Thing:
        """Return a session with its payment intent, where it has one yet."""
        return await _asked(self._api.checkout.sessions.retrieve_async(name, {"expand": [_PAID_IN_SESSION]}), decode_thing)

    async def session_of(self, intent: str) -> Thing | None:
        """Return the session that a payment intent belongs to."""
        found = await _asked(self._api.checkout.sessions.list_async({"payment_intent": intent, "limit": 1}), decode_things)
        return found.data[0] if found.data else None

    async def session_noted(self, attempt: str, since: datetime) -> Thing | None:
        """Return the session made for an attempt, walking those made since a time, newest first."""
        wanted: SessionListParams = {"created": {"gte": int(since.timestamp())}, "limit": _PAGE}
        while True:
            page = await _asked(self._api.checkout.sessions.list_async(wanted), decode_things)
            for one in page.data:
                if one.noted("attempt") == attempt:
                    return one
            if not page.has_more or not page.data:
                return None
            wanted["starting_after"] = page.data[-1].id

    async def expire(self, session: str, key: str) -> Thing:
        """End a session, so that nobody can pay there any more."""
        return await _asked(self._api.checkout.sessions.expire_async(session, {}, {"idempotency_key": key}), decode_thing)

    async def intent(self, name: str) -> Thing:
        """Return a payment intent."""
        return await _asked(self._api.payment_intents.retrieve_async(name, {"expand": [_SETTLED]}), decode_thing)

    async def intents(self, since: datetime, until: datetime, after: str) -> Things:
        """Return a page of the payment intents made in a time."""
        wanted: PaymentIntentListParams = {
            "created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())},
            "limit": _PAGE,
            "expand": [f"data.{_SETTLED}"],
        }
        if after:
            wanted["starting_after"] = after
        return await _asked(self._api.payment_intents.list_async(wanted), decode_things)

    async def capture(self, intent: str, key: str) -> Thing:
        """Take the money that is held."""
        return await _asked(self._api.payment_intents.capture_async(intent, {}, {"idempotency_key": key}), decode_thing)

    async def cancel(self, intent: str, key: str) -> Thing:
        """Release the money that is held."""
        return await _asked(self._api.payment_intents.cancel_async(intent, {}, {"idempotency_key": key}), decode_thing)

    async def make_refund(self, wanted: RefundCreateParams, key: str) -> Thing:
        """Send money back."""
        return await _asked(self._api.refunds.create_async(wanted, {"idempotency_key": key}), decode_thing)

    async def refund(self, name: str) -> Thing:
        """Return a refund."""
        return await _asked(self._api.refunds.retrieve_async(name), decode_thing)

    async def refunds_of(self, intent: str) -> list[Thing]:
        """Return all refunds of a payment intent, oldest first."""
        wanted: RefundListParams = {"payment_intent": intent, "limit": _PAGE}

        async def page(after: str) -> Things:
            if after:
                wanted["starting_after"] = after
            return await _asked(self._api.refunds.list_async(wanted), decode_things)

        return await _all(page)

    async def refunds(self, since: datetime, until: datetime, after: str) -> Things:
        """Return a page of the refunds made in a time."""
        wanted: RefundListParams = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}, "limit": _PAGE}
        if after:
            wanted["starting_after"] = after
        return await _asked(self._api.refunds.list_async(wanted), decode_things)

    async def disputes(self, since: datetime, until: datetime, after: str) -> Things:
        """Return a page of the disputes made in a time."""
        wanted: DisputeListParams = {"created": {"gte": int(since.timestamp()), "lt": int(until.timestamp())}, "limit": _PAGE}
        if after:
            wanted["starting_after"] = after
        return await _asked(self._api.disputes.list_async(wanted), decode_things)

    async def disputes_of(self, intent: str) -> list[Thing]:
        """Return all disputes of a payment intent, oldest first."""
        wanted: DisputeListParams = {"payment_intent": intent, "limit": _PAGE}

        async def page(after: str) -> Things:
            if after:
                wanted["starting_after"] = after
            return await _asked(self._api.disputes.list_async(wanted), decode_things)

        return await _all(page)

    async def close(self) -> None:
        """Close connections."""
        await self._stripe.close()


async def _all(page: Callable[[str], Awaitable[Things]]) -> list[Thing]:
    """Return everything of a list, oldest first; Stripe lists the newest first."""
    found: list[Thing] = []
    more = True
    while more:
        told = await page(found[-1].id if found else "")
        found += told.data
        more = told.has_more and bool(told.data)
    return found[::-1]


async def _asked(call: Awaitable[stripe.StripeObject], decode: Callable[[str], T]) -> T:
    """Await a call and return its answer in our shape.

    Raises:
        GatewayRefused: Stripe did not do it.
        GatewayUnknown: It may have happened.
    """
    try:
        return decode(await body_of(call))
    except stripe.StripeError as error:
        raise translated(error) from error
    except (msgspec.MsgspecError, AttributeError, TypeError, ValueError, RecursionError) as error:
        raise GatewayUnknown("unreadable answer of Stripe") from error


def translated(error: stripe.StripeError) -> GatewayRefused | GatewayUnknown:
    """Return what an error of the library means: only a clear no is one, and what Stripe says of our key is not for payers."""
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return GatewayRefused("authentication_failed", "The gateway does not accept our key.")
    if isinstance(error, stripe.IdempotencyError):
        return GatewayRefused("idempotency_mismatch", "This was asked for before with other parameters.")
    if isinstance(error, stripe.CardError | stripe.InvalidRequestError):
        told = error.error
        code = (told.decline_code if told else None) or error.code or "invalid_request"
        return GatewayRefused(plain(code, 80), plain(error.user_message or "The gateway refused."))
    if is_spent(error):
        return SpentKey(f"{error.http_status} on a key that was used before")
    return GatewayUnknown(f"{type(error).__name__} {error.http_status or 'without an answer'}")
