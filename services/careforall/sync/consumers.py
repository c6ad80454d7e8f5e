"""Messages in: who is to be forgotten."""

from collections.abc import Sequence
from typing import Any

from careforall.contracts.accounts import UserErased
from careforall.contracts.donor import normalised
from careforall.contracts.streams import ACCOUNTS
from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.sync.service import SyncService


def consumers(service: SyncService) -> tuple[Consumer, ...]:
    """Return the durable consumer of this service."""

    async def accounts(connection: Connection, messages: Sequence[Message[Any]]) -> None:
        for email in sorted({normalised(message.event.email) for message in messages}):
            await service.erase(connection, email)

    return (Consumer(name="sync-accounts", stream=ACCOUNTS.name, events=(UserErased,), handler=accounts),)
