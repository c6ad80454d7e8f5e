"""The notifications service: one message per fact, named by production's own names of facts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.notifications.consumers import consumers
from careforall.notifications.domain import DonationEvent
from careforall.notifications.drafting import fact_of
from careforall.notifications.service import NotificationsService
from careforall_testing.simulation.consuming import Inbox, hand_over
from careforall_testing.simulation.database import Database, Table, Transaction
from careforall_testing.simulation.scheduler import Steps


class Notifying:
    """Database and consumer of notifications."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.inbox = Inbox()
        self.notices: Table[str, UUID] = Table("notifications")
        self._heard: list[Message[DonationEvent]] = []
        self.consumer: Consumer = consumers(cast("NotificationsService", self))[0]

    async def fold_donations(self, _: Connection, messages: Sequence[Message[DonationEvent]]) -> None:
        """Hear what production's consumer is given (see `on_donations`)."""
        self._heard = list(messages)

    def on_donations(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[None]:
        """Keep one message per fact, whatever comes how often."""
        hand_over(self.consumer.handler, messages)
        for message in self._heard:
            fact = fact_of(message.event)
            yield from transaction.lock(self.notices, fact)
            if transaction.get(self.notices, fact) is None:
                transaction.put(self.notices, fact, message.event_id)
