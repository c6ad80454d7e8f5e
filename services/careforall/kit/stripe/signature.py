"""Proof that an event comes from Stripe, by the library's own check; imported only where Stripe is set up."""

import stripe

from careforall.kit.signatures import Headers, is_fresh

_HEADER = b"stripe-signature"
_MAX_HEADER = 2048


class StripeScheme:
    """`Stripe-Signature: t=<seconds>,v1=<hex>[,v1=<hex>]` over the raw body.

    The library looks at old times only, by its own clock: whether the time is near is decided here, in both directions.

    Args:
        secrets: Live secrets of the endpoint, `whsec_` and all; two while one is rolled.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets

    async def holds(self, headers: Headers, body: bytes, now: float) -> bool:
        """Whether the body was signed with a secret of ours, at most 300 s ago or ahead."""
        given = headers.get(_HEADER, b"")
        times = [part[2:] for part in given.split(b",") if part.startswith(b"t=")]
        if len(given) > _MAX_HEADER or not given.isascii() or len(times) != 1 or not is_fresh(times[0], now):
            return False
        matches = [_signed_with(secret, body, given.decode()) for secret in self._secrets]
        return any(matches)


def _signed_with(secret: str, body: bytes, header: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(body, header, secret))
    except (stripe.SignatureVerificationError, UnicodeDecodeError):
        return False
