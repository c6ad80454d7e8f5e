"""Webhooks of the generic endpoint as their senders sign them."""

from __future__ import annotations

from careforall.kit import secrets

GENERIC = "/api/v1/payments/webhook"
JSON = {"Content-Type": "application/json"}


def sign_generic(secret: str, body: bytes) -> dict[str, str]:
    """The headers of our plain scheme."""
    return {**JSON, "X-Signature": f"sha256={secrets.sign(secret.encode(), body)}"}
