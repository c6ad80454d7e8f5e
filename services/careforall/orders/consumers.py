"""Messages in: what payments says about our orders, what catalog sells, and who is to be forgotten. One service call each."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from careforall.contracts.accounts import UserErased
from careforall.contracts.catalog import PRODUCT_EVENTS
from careforall.contracts.payments import (
    PaymentAuthorized,
    PaymentCaptured,
    PaymentFailed,
    PaymentRefunded,
    PaymentSnapshot,
    PaymentVoided,
)
from careforall.contracts.streams import ACCOUNTS, CATALOG, PAYMENTS
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.kit.ids import NIL
from careforall.orders.domain import Fact
from careforall.orders.saga_words import PaymentTold
from careforall.orders.service import OrdersService

_BUYER_WAITS = 0.2
"""Seconds: a buyer on the pay page waits for the order."""


def consumers(service: OrdersService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def payments(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        ours = sorted(
            (message for message in messages if message.event.subject_type == "ORDER"),
            key=lambda message: message.aggregate_version,
        )
        told: dict[UUID, PaymentTold] = {}
        money: dict[UUID, Fact] = {}
        for message in ours:
            if (said := _told(message.event)) is not None:
                told[message.event.intent_id] = said
            if (fact := _fact(message)) is not None:
                money[message.event.intent_id] = fact
        if ours:
            await service.hear_payments(connection, list(told.items()), money)

    async def products(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.goods.keep(connection, [(one.event, one.aggregate_version) for one in messages])

    async def accounts(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        await service.erasing.erase(connection, sorted({message.event.user_id for message in messages}))

    return (
        Consumer(
            name="orders-payments",
            stream=PAYMENTS.name,
            events=(PaymentAuthorized, PaymentCaptured, PaymentFailed, PaymentVoided, PaymentRefunded, PaymentSnapshot),
            handler=payments,
            patience=_BUYER_WAITS,
        ),
        Consumer(name="orders-catalog", stream=CATALOG.name, events=PRODUCT_EVENTS, handler=products),
        Consumer(name="orders-accounts", stream=ACCOUNTS.name, events=(UserErased,), handler=accounts),
    )


def _told(event: Any) -> PaymentTold | None:
    """Return what an event says of an intent's state; refunds prove the capture."""
    match event:
        case PaymentAuthorized() | PaymentSnapshot(status="AUTHORIZED"):
            return PaymentTold(status="AUTHORIZED")
        case PaymentCaptured() | PaymentRefunded() | PaymentSnapshot(status="CAPTURED"):
            return PaymentTold(status="CAPTURED")
        case PaymentFailed() | PaymentVoided() | PaymentSnapshot(status="FAILED"):
            return PaymentTold(status="ENDED")
        case PaymentSnapshot(status="REFUNDED", captured_amount=captured):
            return PaymentTold(status="CAPTURED" if captured else "ENDED")
        case _:
            return None


def _fact(message: Message[Any]) -> Fact | None:
    """Return how much went back in all."""
    match message.event:
        case PaymentRefunded(total_refunded=total):
            return Fact(order_id=NIL, cause=message.event_type, total_refunded=total)
        case PaymentSnapshot(refunded_amount=total) if total:
            return Fact(order_id=NIL, cause=message.event_type, total_refunded=total)
        case _:
            return None
