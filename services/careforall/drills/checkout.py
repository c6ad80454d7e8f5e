"""Asks payments for money as the shop's checkout does: held first, taken when the order is sure."""

from __future__ import annotations

import httpx2

from careforall.drills.errors import Unexpected
from careforall.kit import secrets
from careforall.kit.http.identity import ServiceTokens
from careforall.kit.ids import new_id

_NAME, _AUDIENCE = "orders", "payments"
_MADE = frozenset({200, 201})


class Checkout:
    """The internal routes of payments.

    Args:
        client: Speaks to the internal listener.
        secret_key: The platform's root secret, from which service tokens come.
    """

    def __init__(self, client: httpx2.AsyncClient, secret_key: str) -> None:
        self._client = client
        self._tokens = ServiceTokens(secrets.derive(secret_key, "service tokens"), _NAME)

    async def intent(self, *, amount: str, currency: str = "EUR") -> str:
        """Ask for an order's payment and return its intent.

        Raises:
            Unexpected: It was refused.
        """
        order = {"subject_type": "ORDER", "subject_id": str(new_id()), "amount": amount, "currency": currency}
        answer = await self._client.post("/api/v1/payments/intent", json=order, headers=self._headers())
        if answer.status_code not in _MADE:
            raise Unexpected(f"an order's payment was answered {answer.status_code}: {answer.text}")
        return str(answer.json()["id"])

    async def capture(self, intent: str) -> bool:
        """Take what is held; false while nobody knows, or nothing is held yet."""
        path = f"/api/v1/payments/{intent}/capture"
        try:
            answer = await self._client.post(path, headers={**self._headers(), "Idempotency-Key": f"capture-{intent}"})
        except httpx2.HTTPError:
            return False
        return answer.is_success

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._tokens.issue(_AUDIENCE)}"}
