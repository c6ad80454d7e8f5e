"""Events that become messages."""

from collections.abc import Sequence

from careforall.contracts import streams
from careforall.contracts.accounts import (
    EmailVerificationRequested,
    EmailVerified,
    PasswordResetRequested,
    PreferencesChanged,
    UserErased,
    UserRegistered,
)
from careforall.contracts.donations import DonationCompleted, DonationCreated, DonationFailed, DonationRefunded
from careforall.contracts.orders import OrderCancelled, OrderConfirmed, OrderCreated, OrderRefunded, OrderShipped
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.notifications.domain import AccountEvent, DonationEvent, OrderEvent
from careforall.notifications.service import NotificationsService


def consumers(service: NotificationsService) -> tuple[Consumer, ...]:
    """Return the durable consumers of the service."""

    async def on_donations(connection: Connection, messages: Sequence[Message[DonationEvent]]) -> None:
        await service.fold_donations(connection, messages)

    async def on_orders(connection: Connection, messages: Sequence[Message[OrderEvent]]) -> None:
        await service.fold_orders(connection, messages)

    async def on_accounts(connection: Connection, messages: Sequence[Message[AccountEvent]]) -> None:
        await service.fold_accounts(connection, messages)

    return (
        Consumer(
            name="notifications-donations",
            stream=streams.DONATIONS.name,
            events=(DonationCreated, DonationCompleted, DonationFailed, DonationRefunded),
            handler=on_donations,
            batch=500,
        ),
        Consumer(
            name="notifications-orders",
            stream=streams.ORDERS.name,
            events=(OrderCreated, OrderConfirmed, OrderShipped, OrderCancelled, OrderRefunded),
            handler=on_orders,
            batch=500,
        ),
        Consumer(
            name="notifications-accounts",
            stream=streams.ACCOUNTS.name,
            events=(UserRegistered, EmailVerified, PasswordResetRequested, PreferencesChanged, UserErased),
            handler=on_accounts,
        ),
        # One of its own, which begins at the oldest message: who asked before anybody listened is answered too.
        Consumer(
            name="notifications-links", stream=streams.ACCOUNTS.name, events=(EmailVerificationRequested,), handler=on_accounts
        ),
    )
