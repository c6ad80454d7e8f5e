"""Messages in: what payments and accounts say about our donations. One service call each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from careforall.contracts.accounts import EmailVerified, UserErased
from careforall.contracts.payments import (
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentRefunded,
    PaymentSnapshot,
    PaymentVoided,
)
from careforall.contracts.streams import ACCOUNTS, PAYMENTS
from careforall.donations.domain import Kind, PaymentFact
from careforall.donations.service import DonationsService
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message


def consumers(service: DonationsService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def payments(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        ours = [message for message in messages if message.event.subject_type == "DONATION"]
        await service.apply(connection, [fact for message in ours for fact in _facts(message)])

    async def accounts(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        for message in messages:
            if isinstance(message.event, UserErased):
                await service.erase(connection, message.event)
            else:
                await service.join_account(connection, message.event.email, message.event.user_id)

    return (
        Consumer(
            name="donations-payments",
            stream=PAYMENTS.name,
            events=(PaymentCaptured, PaymentFailed, PaymentVoided, PaymentRefunded, PaymentDisputed, PaymentSnapshot),
            handler=payments,
        ),
        Consumer(name="donations-accounts", stream=ACCOUNTS.name, events=(EmailVerified, UserErased), handler=accounts),
    )


def _facts(message: Message[Any]) -> list[PaymentFact]:
    """Return what a message says about a donation; nothing where it says nothing new can have happened."""
    event, said = message.event, _Said(message)
    match event:
        case PaymentCaptured():
            return [said("captured", event.captured_at)]
        case PaymentRefunded():
            return [said("refunded", event.refunded_at, total_refunded=event.total_refunded)]
        case PaymentDisputed():
            return [said("disputed", event.disputed_at or message.occurred_at, total_disputed=event.disputed_amount)]
        case PaymentSnapshot(status="CAPTURED" | "REFUNDED", captured_amount=captured) if captured:
            return _retold(event, said)
        case PaymentSnapshot(status="INITIATED" | "AUTHORIZED"):
            return []
        case _:
            return [said("ended", message.occurred_at, reason=event.reason)]


def _retold(event: PaymentSnapshot, said: "_Said") -> list[PaymentFact]:
    """Return what was said of a captured payment: the capture or what went back, and what is disputed."""
    disputed = said("disputed", event.status_at, total_disputed=event.disputed_amount, retold=True)
    if not event.refunded_amount:
        return [said("captured", event.status_at), disputed]
    return [said("refunded", event.status_at, total_refunded=event.refunded_amount), disputed]


class _Said:
    """Makes facts out of one message."""

    def __init__(self, message: Message[Any]) -> None:
        self._message = message

    def __call__(self, kind: Kind, at: datetime, **more: Any) -> PaymentFact:
        message = self._message
        return PaymentFact(
            intent_id=message.event.intent_id,
            event_id=message.event_id,
            event_type=message.event_type,
            version=message.aggregate_version,
            kind=kind,
            at=at,
            correlation_id=message.correlation_id,
            traceparent=message.traceparent,
            **more,
        )
