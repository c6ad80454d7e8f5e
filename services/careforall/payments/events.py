"""Builds the events of this service out of its rows; one place, so that every event says the same of the same state."""

from datetime import datetime
from typing import Any
from uuid import UUID

from careforall.contracts.payments import (
    PaymentAttemptFailed,
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentIntentCreated,
    PaymentRefunded,
    PaymentSnapshot,
    PaymentStatus,
    PaymentVoided,
)
from careforall.kit import outbox
from careforall.kit.envelope import Event
from careforall.kit.outbox import Outgoing
from careforall.payments.domain import DeclineFact, DisputeFact, Fact, Intent, Verdict

SOURCE = "payments"


def created(intent: Intent) -> Outgoing:
    """Return the event of a new intent."""
    return _sealed(PaymentIntentCreated(**_state(intent), expires_at=intent.expires_at), intent, intent.version)


def snapshot(intent: Intent) -> Outgoing:
    """Return the present state of an intent as an event."""
    event = PaymentSnapshot(
        **_state(intent),
        status=intent.status,
        status_at=intent.status_at,
        captured_amount=intent.captured_amount,
        refunded_amount=intent.refunded_amount,
        disputed_amount=intent.disputed_amount,
        reason=intent.reason,
    )
    return _sealed(event, intent, intent.version)


def told(before: Intent, after: Intent, fact: Fact, verdict: Verdict, *, refund_id: UUID | None, now: datetime) -> list[Outgoing]:
    """Return the events of a processed fact, one for each version it made, in order."""
    state = _state(after)
    at = fact.at or now
    found: list[Outgoing] = []
    version, status = before.version, before.status
    if verdict.declined and isinstance(fact, DeclineFact):
        version += 1
        declined = PaymentAttemptFailed(**state, reason=fact.reason, code=fact.code, retryable=not verdict.steps)
        found.append(_sealed(declined, after, version))
    for step in verdict.steps:
        version += 1
        found.append(_sealed(_stepped(step, status, state, after, verdict, refund_id, at), after, version))
        status = step
    if after.version > version and refund_id is not None:
        found.append(_sealed(_refunded(state, after, verdict, refund_id, at), after, after.version))
    if verdict.dispute_becomes is not None and isinstance(fact, DisputeFact):
        found.append(_sealed(_disputed(state, after, fact, at), after, after.version))
    return found


def _stepped(
    step: PaymentStatus,
    came_from: PaymentStatus,
    state: dict[str, Any],
    after: Intent,
    verdict: Verdict,
    refund_id: UUID | None,
    at: datetime,
) -> Event:
    match step:
        case "AUTHORIZED":
            return PaymentAuthorized(**state)
        case "CAPTURED":
            return PaymentCaptured(**state, captured_at=at, method=after.method, gateway_transaction_id=after.gateway_object)
        case "REFUNDED" if came_from == "CAPTURED" and refund_id is not None:
            return _refunded(state, after, verdict, refund_id, at)
        case "REFUNDED":
            return PaymentVoided(**state, reason=after.reason)
        case _:
            return PaymentFailed(**state, reason=after.reason)


def _refunded(state: dict[str, Any], after: Intent, verdict: Verdict, refund_id: UUID, at: datetime) -> PaymentRefunded:
    return PaymentRefunded(
        **state,
        refund_id=refund_id,
        refund_amount=verdict.refunded,
        total_refunded=after.refunded_amount,
        fully=after.refunded_amount == after.captured_amount,
        refunded_at=at,
    )


def _disputed(state: dict[str, Any], after: Intent, fact: DisputeFact, at: datetime) -> PaymentDisputed:
    return PaymentDisputed(**state, disputed_amount=after.disputed_amount, status=fact.status, disputed_at=at)


def _sealed(event: Event, intent: Intent, version: int) -> Outgoing:
    """Seal an event as part of the story that began with the gift or order."""
    return outbox.outgoing(event, aggregate_id=intent.id, aggregate_version=version, source=SOURCE, cause=intent.cause)


def _state(intent: Intent) -> dict[str, Any]:
    return {
        "intent_id": intent.id,
        "subject_type": intent.subject_type,
        "subject_id": intent.subject_id,
        "amount": intent.amount,
        "currency": intent.currency,
        "gateway": intent.gateway,
        "livemode": intent.livemode,
    }
