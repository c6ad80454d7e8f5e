"""What each error of Stripe's means: whose fault it is, and whether the same call is made again."""

from __future__ import annotations

from typing import Any

import pytest
import stripe

from careforall.sync.domain import Gone, Later, Outcome, Refused, Spent
from careforall.sync.gateways.stripe import outcome_of


def raised(kind: type[stripe.StripeError], status: int | None, *, code: str | None = None, **headers: str) -> Outcome:
    body: Any = {"error": {"message": "No.\x00", "code": code}}
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    needed: dict[str, Any] = {"param": None} if kind is stripe.InvalidRequestError else {}
    return outcome_of(kind("No.\x00", http_status=status, json_body=body, headers=sent, code=code, **needed))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (raised(stripe.APIConnectionError, None), Later(error="no answer: APIConnectionError")),
        (
            raised(stripe.RateLimitError, 429, code="rate_limit", retry_after="7"),
            Later(error="429: rate_limit", retry_after=7, counted=False),
        ),
        (raised(stripe.RateLimitError, 429, retry_after="soon"), Later(error="429: RateLimitError", counted=False)),
        (raised(stripe.APIError, 500), Later(error="500: APIError")),
        (raised(stripe.APIError, 503, retry_after="30"), Later(error="503: APIError", retry_after=30)),
        (raised(stripe.APIError, 500, idempotent_replayed="true"), Spent(error="500: APIError")),
        (raised(stripe.IdempotencyError, 400), Spent(error="400: IdempotencyError")),
        (raised(stripe.APIError, 409, code="idempotency_key_in_use"), Later(error="409: idempotency_key_in_use")),
        (raised(stripe.InvalidRequestError, 404, code="resource_missing"), Gone()),
        (raised(stripe.InvalidRequestError, 400, code="email_invalid"), Refused(error="400: email_invalid; No.")),
    ],
)
def test_errors_are_classed(outcome: Outcome, expected: Outcome) -> None:
    assert outcome == expected


@pytest.mark.parametrize("kind", [stripe.AuthenticationError, stripe.PermissionError])
def test_a_key_that_is_not_accepted_is_no_customers_fault(kind: Any) -> None:
    outcome = raised(kind, 401)
    assert isinstance(outcome, Later)
    assert not outcome.counted
