"""Messages in: accepted gifts and placed orders, whose intents we make."""

from collections.abc import Sequence

from careforall.contracts.donations import DonationCreated
from careforall.contracts.orders import OrderCreated
from careforall.contracts.streams import DONATIONS, ORDERS
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.payments.service import PaymentsService

_PAYER_WAITS = 0.2
"""Seconds: short enough for a payer's way to the pay page, long enough to make many intents in one transaction."""


def consumers(service: PaymentsService) -> tuple[Consumer, ...]:
    """Return the durable consumers of this service."""

    async def donations(connection: Connection, messages: Sequence[Message[DonationCreated]]) -> None:
        await service.create_from_donations(connection, messages)

    async def orders(connection: Connection, messages: Sequence[Message[OrderCreated]]) -> None:
        await service.create_from_orders(connection, messages)

    return (
        Consumer(
            name="payments-donations",
            stream=DONATIONS.name,
            events=(DonationCreated,),
            handler=donations,
            patience=_PAYER_WAITS,
        ),
        Consumer(name="payments-orders", stream=ORDERS.name, events=(OrderCreated,), handler=orders, patience=_PAYER_WAITS),
    )
