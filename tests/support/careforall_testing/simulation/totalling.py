"""The totals service: folds gifts into base, donors and counters with production's arithmetic."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, cast
from uuid import UUID

import msgspec

from careforall.kit.consumer import Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message
from careforall.totals.consumers import consumers
from careforall.totals.domain import Change, Gift, changes, corrections, newest
from careforall.totals.service import TotalsService
from careforall_testing.simulation.consuming import Inbox, hand_over
from careforall_testing.simulation.database import Database, Table, Transaction
from careforall_testing.simulation.scheduler import Steps
from careforall_testing.simulation.variants import Protocol

_NOTHING = Decimal(0)


class Counters(msgspec.Struct, frozen=True):
    """The counters of a campaign."""

    total_amount: Decimal = _NOTHING
    refunded_amount: Decimal = _NOTHING
    disputed_amount: Decimal = _NOTHING
    total_donations: int = 0
    unique_donors: int = 0
    revision: int = 0

    def moved(self, change: Change) -> Counters:
        """Return the counters after a change."""
        return Counters(
            self.total_amount + change.total_amount,
            self.refunded_amount + change.refunded_amount,
            self.disputed_amount + change.disputed_amount,
            self.total_donations + change.total_donations,
            self.unique_donors + change.unique_donors,
            self.revision + change.revision,
        )


class Totalling:
    """Database and consumer of totals."""

    def __init__(self, database: Database, protocol: Protocol) -> None:
        self.database = database
        self.inbox = Inbox()
        self.base: Table[UUID, Gift] = Table("completed_donations")
        self.donors: Table[tuple[UUID, str], int] = Table("campaign_donors")
        self.counters: Table[UUID, Counters] = Table("campaign_totals")
        self._protocol = protocol
        self._heard: list[Gift] = []
        self.consumer: Consumer = consumers(cast("TotalsService", self))[0]

    async def fold(self, _: Connection, gifts: Sequence[Gift]) -> None:
        """Hear what production's consumer makes of messages (see `on_donations`)."""
        self._heard = list(gifts)

    def on_donations(self, transaction: Transaction, messages: Sequence[Message[Any]]) -> Steps[None]:
        """Fold donation events as `totals.projections.fold` does."""
        hand_over(self.consumer.handler, messages)
        batch = newest(self._heard)
        added: list[Gift] = []
        for gift in batch:
            yield from transaction.lock(self.base, gift.donation_id)
            if transaction.get(self.base, gift.donation_id) is None:
                transaction.put(self.base, gift.donation_id, gift)
                added.append(gift)
        fresh = {gift.donation_id for gift in added}
        corrected = self._correct(transaction, [gift for gift in batch if gift.donation_id not in fresh])
        new_donors = yield from self._count_donors(transaction, added)
        for change in self._changes(added, corrected, new_donors):
            yield from transaction.lock(self.counters, change.campaign_id)
            before = transaction.get(self.counters, change.campaign_id) or Counters()
            transaction.put(self.counters, change.campaign_id, before.moved(change))

    def _correct(self, transaction: Transaction, gifts: Sequence[Gift]) -> list[tuple[Gift, Gift]]:
        kept = {gift.donation_id: row for gift in gifts if (row := transaction.get(self.base, gift.donation_id)) is not None}
        if self._protocol.versions == "any":
            corrected = [(kept[gift.donation_id], gift) for gift in gifts]
        else:
            corrected = corrections(kept, gifts)
        for _, after in corrected:
            transaction.put(self.base, after.donation_id, after)
        return corrected

    def _changes(
        self, added: Sequence[Gift], corrected: Sequence[tuple[Gift, Gift]], new_donors: dict[UUID, int]
    ) -> list[Change]:
        if self._protocol.totals == "amounts":
            return changes([*added, *(after for _, after in corrected)], [], new_donors)
        return changes(added, corrected, new_donors)

    def _count_donors(self, transaction: Transaction, gifts: Sequence[Gift]) -> Steps[dict[UUID, int]]:
        fresh: dict[UUID, int] = {}
        for campaign_id, donor_key in sorted((gift.campaign_id, gift.donor_key) for gift in gifts):
            key = (campaign_id, donor_key)
            yield from transaction.lock(self.donors, key)
            known = transaction.get(self.donors, key)
            transaction.put(self.donors, key, (known or 0) + 1)
            if known is None:
                fresh[campaign_id] = fresh.get(campaign_id, 0) + 1
        return fresh
