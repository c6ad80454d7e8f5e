"""Webhooks as gateways sign them, and as forgers would: used by everything that speaks to the webhook endpoints from outside.

headers = sign_generic(secret, body)
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time

from careforall.drills.signing import GENERIC, JSON, sign_generic

SIMULATOR = "/api/v1/payments/webhook/simulator"
STRIPE = "/api/v1/payments/webhook/stripe"

__all__ = ["GENERIC", "JSON", "SIMULATOR", "STRIPE", "sign_generic", "sign_simulator", "sign_standard", "sign_stripe"]


def sign_standard(secret: str, body: bytes, *, event: str, at: float | str | None = None) -> dict[str, str]:
    """The headers of Standard Webhooks; `at` is the signed time, now if not given."""
    stamp = _stamp(at)
    digest = hmac.digest(_decoded(secret), f"{event}.{stamp}.".encode() + body, hashlib.sha256)
    signature = f"v1,{base64.b64encode(digest).decode()}"
    return {**JSON, "webhook-id": event, "webhook-timestamp": stamp, "webhook-signature": signature}


def sign_simulator(secret: str, body: bytes, *, at: float | str | None = None) -> dict[str, str]:
    """The header of the simulated gateway; `at` is the signed time, now if not given."""
    stamp = _stamp(at)
    return {**JSON, "Simulator-Signature": f"t={stamp},v1={_hex(secret.encode(), f'{stamp}.'.encode() + body)}"}


def sign_stripe(secret: str, body: bytes, *, at: float | str | None = None) -> dict[str, str]:
    """The header of Stripe; `at` is the signed time, now if not given."""
    stamp = _stamp(at)
    return {**JSON, "Stripe-Signature": f"t={stamp},v1={_hex(secret.encode(), f'{stamp}.'.encode() + body)},v0=6ffbb59b"}


def _hex(key: bytes, signed: bytes) -> str:
    return hmac.digest(key, signed, hashlib.sha256).hex()


def _stamp(at: float | str | None) -> str:
    return at if isinstance(at, str) else str(int(time.time() if at is None else at))


def _decoded(secret: str) -> bytes:
    return base64.b64decode(secret.removeprefix("whsec_") + "=" * (-len(secret.removeprefix("whsec_")) % 4))
