"""Records facts about intents that did not come by webhook: we asked, or ordered it, or time ran out, or staff decided.

What gateways answer to our orders is recorded for many callers in one transaction (rule 1), as the webhook intake does it.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from careforall.kit.batch import Busy, GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.ids import new_id
from careforall.payments import (
    ledger,
    repository,
    repository_alarms,
    repository_disputes,
    repository_ledger,
    repository_refunds,
)
from careforall.payments.domain import DisputeFact, Fact, Intent, RefundFact, StateFact, Verdict
from careforall.payments.effects import Effects, Source
from careforall.payments.errors import PaymentNotFound
from careforall.payments.locking import lock
from careforall.payments.records import Changes


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway answered about an intent; `cause` says to what."""

    id: UUID = msgspec.field(default_factory=new_id)
    intent_id: UUID
    facts: tuple[Fact, ...]
    gateway: str
    cause: str


class Recorder:
    """Records the answers of gateways.

    Args:
        max_attempts: Declines after which an intent fails.
        max_batch: Answers per transaction.
        flights: Transactions in flight at once.
    """

    def __init__(self, database: Database, *, max_attempts: int, max_batch: int, flights: int) -> None:
        self._database = database
        self._max_attempts = max_attempts
        self._batch: GroupCommit[Told, Intent] = GroupCommit(
            "payment-answers", database, self._write, max_batch=max_batch, flights=flights
        )
        self.drain = self._batch.drain

    async def record(self, told: Told) -> Intent:
        """Record an answer with those of the moment and return the intent after it.

        Raises:
            PaymentNotFound: The intent is unknown.
        """
        if all(isinstance(fact, StateFact) for fact in told.facts):
            return await self._batch.submit(told, key=f"{told.intent_id}:{told.id}")
        # A decline has no name by which a second writing after an unknown COMMIT could tell that it is counted.
        return await self._database.run(lambda connection: self._alone(connection, told))

    async def _alone(self, connection: Connection, told: Told) -> Intent:
        locked = await repository.lock_intent(connection, told.intent_id)
        if locked is None:
            raise PaymentNotFound
        return (await self._recorded(connection, {locked.id: locked}, [told]))[locked.id]

    async def _write(self, connection: Connection, batch: Sequence[Told]) -> Sequence[Intent | Exception | Busy]:
        locked, others = await lock(connection, [told.intent_id for told in batch])
        after = await self._recorded(connection, locked, [told for told in batch if told.intent_id in locked])
        return [after.get(told.intent_id) or others[told.intent_id] for told in batch]

    async def _recorded(self, connection: Connection, locked: dict[UUID, Intent], batch: Sequence[Told]) -> dict[UUID, Intent]:
        pairs = [(locked[told.intent_id], fact) for told in batch for fact in told.facts]
        effects = await effects_of(connection, pairs, attempts_of=locked, max_attempts=self._max_attempts)
        for told in batch:
            source = _source(told.gateway, f"{told.gateway} {told.cause}")
            for fact in told.facts:
                effects.apply(locked[told.intent_id], fact, source)
        await repository.write(connection, effects.changes)
        return {identifier: effects.now(intent) for identifier, intent in locked.items()}


async def record(
    connection: Connection, locked: Intent, fact: Fact, *, via: str, cause: str, max_attempts: int
) -> tuple[Verdict, Intent]:
    """Apply a fact to a locked intent, write it, and return what it did and the intent after it."""
    effects = await effects_of(connection, [(locked, fact)], attempts_of=[locked.id], max_attempts=max_attempts)
    verdict = effects.apply(locked, fact, _source(via, cause))
    await repository.write(connection, effects.changes)
    return verdict, effects.now(locked)


async def effects_of(
    connection: Connection, told: Sequence[tuple[Intent, Fact]], *, attempts_of: Iterable[UUID], max_attempts: int
) -> Effects:
    """Read what facts need besides their locked intents; only what gateways told that can be asked concerns attempts."""
    attempted = sorted(set(attempts_of))
    refunded = sorted({intent.id for intent, fact in told if _concerns_refunds(intent, fact)})
    disputed = sorted({intent.id for intent, fact in told if isinstance(fact, DisputeFact)})
    unpaid = sorted({intent.id for intent, fact in told if _may_prove_capture(intent, fact)})
    with_fee = sorted({intent.id for intent, fact in told if isinstance(fact, StateFact) and fact.fee is not None})
    return Effects(
        attempts=await repository.last_attempts(connection, attempted) if attempted else {},
        refunds=await repository_refunds.refunds_of(connection, refunded) if refunded else (),
        disputes=await repository_disputes.disputes_of(connection, disputed) if disputed else (),
        fees=await repository_ledger.with_fees(connection, with_fee) if with_fee else (),
        mismatched=await repository_alarms.told_otherwise(connection, unpaid) if unpaid else (),
        max_attempts=max_attempts,
    )


async def record_fee(connection: Connection, locked: Intent, fact: Fact, *, via: str) -> bool:
    """Book the fee that a fact tells of a locked intent, and return whether it was news."""
    fee = ledger.fee_of(locked, fact, via=via)
    if fee is None or await repository_ledger.with_fees(connection, [locked.id]):
        return False
    changes = Changes()
    changes.entries.append(ledger.fee_booking(locked, fee, via=via, at=fact.at or datetime.now(UTC)))
    await repository.write(connection, changes)
    return True


def _source(via: str, cause: str) -> Source:
    return Source(via=via, cause=cause, event_id=None, received_at=datetime.now(UTC))


def _may_prove_capture(intent: Intent, fact: Fact) -> bool:
    return isinstance(fact, RefundFact | DisputeFact) and intent.status in {"INITIATED", "AUTHORIZED"}


def _concerns_refunds(intent: Intent, fact: Fact) -> bool:
    """Whether a fact tells of refunds, or of a capture that comes too late."""
    if isinstance(fact, RefundFact):
        return True
    return isinstance(fact, StateFact) and fact.target == "CAPTURED" and intent.status == "FAILED"
