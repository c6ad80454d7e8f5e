"""The client of Stripe's library as every service opens it: one version of the API, one deadline, no repeats of its own."""

from collections.abc import Awaitable

import stripe

API_VERSION = "2026-10-28.endive"
"""The version of Stripe's API that calls are pinned to; webhook endpoints are best made with the same."""

_SERVER_ERROR = 500


class StripeApi:
    """An open client; `v1` has the calls.

    Args:
        key: Secret or restricted key.
        base: Where the API answers instead of Stripe's own address; empty for that one.
        seconds: Deadline of one call.
    """

    def __init__(self, key: str, *, base: str, seconds: float) -> None:
        self._http = stripe.HTTPXClient(timeout=seconds)
        self.v1 = stripe.StripeClient(
            key,
            stripe_version=API_VERSION,
            base_addresses={"api": base} if base else None,
            max_network_retries=0,
            http_client=self._http,
        ).v1

    async def close(self) -> None:
        """Close connections."""
        await self._http.close_async()  # type: ignore[no-untyped-call]  # the library's types lack this one


async def body_of(call: Awaitable[stripe.StripeObject]) -> str:
    """Await a call and return its answer as it came.

    Raises:
        stripe.StripeError: What the library makes of an error.
        ValueError: The answer has no body.
    """
    answer = (await call).last_response
    if answer is None:
        raise ValueError("Stripe's answer has no body")
    body: str = answer.body
    return body


def is_spent(error: stripe.StripeError) -> bool:
    """Whether this is an earlier failure of Stripe's, which this idempotency key is answered for a day."""
    failed = (error.http_status or 0) >= _SERVER_ERROR
    return failed and (error.headers or {}).get("idempotent-replayed") == "true"
