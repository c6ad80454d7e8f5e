"""Messages in: what payments and accounts say about our donations. One service call each."""

from collections.abc import Sequence
from typing import Any

from careforall.contracts.accounts import EmailVerified, UserErased
from careforall.contracts.payments import PaymentCaptured, PaymentFailed, PaymentRefunded, PaymentSnapshot, PaymentVoided
from careforall.contracts.streams import ACCOUNTS, PAYMENTS
from careforall.donations.domain import PaymentFact
from careforall.donations.service import DonationsService
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message


def consumers(service: DonationsService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def payments(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        ours = [_fact(message) for message in messages if message.event.subject_type == "DONATION"]
        await service.apply(connection, [fact for fact in ours if fact is not None])

    async def accounts(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        for message in messages:
            if isinstance(message.event, UserErased):
                await service.erase(connection, message.event.donor_key)
            else:
                await service.join_account(connection, message.event.email, message.event.user_id)

    return (
        Consumer(
            name="donations-payments",
            stream=PAYMENTS.name,
            events=(PaymentCaptured, PaymentFailed, PaymentVoided, PaymentRefunded, PaymentSnapshot),
            handler=payments,
        ),
        Consumer(name="donations-accounts", stream=ACCOUNTS.name, events=(EmailVerified, UserErased), handler=accounts),
    )


def _fact(message: Message[Any]) -> PaymentFact | None:
    """Return what a message says about a donation, or None where it says nothing new can have happened."""
    event = message.event
    common = {
        "intent_id": event.intent_id,
        "event_id": message.event_id,
        "event_type": message.event_type,
        "version": message.aggregate_version,
        "correlation_id": message.correlation_id,
        "traceparent": message.traceparent,
    }
    match event:
        case PaymentCaptured():
            return PaymentFact(**common, kind="captured", at=event.captured_at)
        case PaymentRefunded():
            return PaymentFact(**common, kind="refunded", at=event.refunded_at, total_refunded=event.total_refunded)
        case PaymentSnapshot(status="CAPTURED" | "REFUNDED", captured_amount=captured) if captured:
            if not event.refunded_amount:
                return PaymentFact(**common, kind="captured", at=event.status_at)
            return PaymentFact(**common, kind="refunded", at=event.status_at, total_refunded=event.refunded_amount)
        case PaymentSnapshot(status="INITIATED" | "AUTHORIZED"):
            return None
        case _:
            return PaymentFact(**common, kind="ended", at=message.occurred_at, reason=event.reason)
