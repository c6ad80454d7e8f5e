"""Records one fact about one intent that did not come by webhook: we asked, or time ran out, or staff decided."""

from datetime import UTC, datetime

from careforall.kit.db import Connection
from careforall.payments import ledger, repository, repository_disputes, repository_ledger, repository_refunds
from careforall.payments.domain import Fact, Intent, Verdict
from careforall.payments.effects import Effects, Source
from careforall.payments.records import Changes


async def record(
    connection: Connection, locked: Intent, fact: Fact, *, via: str, cause: str, max_attempts: int
) -> tuple[Verdict, Intent]:
    """Apply a fact to a locked intent, write it, and return what it did and the intent after it."""
    effects = Effects(
        attempts=await repository.last_attempts(connection, [locked.id]),
        refunds=await repository_refunds.refunds(connection, locked.id),
        disputes=await repository_disputes.disputes_of(connection, [locked.id]),
        fees=await repository_ledger.with_fees(connection, [locked.id]),
        max_attempts=max_attempts,
    )
    source = Source(via=via, cause=cause, event_id=None, received_at=datetime.now(UTC))
    verdict = effects.apply(locked, fact, source)
    await repository.write(connection, effects.changes)
    return verdict, effects.now(locked)


async def record_fee(connection: Connection, locked: Intent, fact: Fact, *, via: str) -> bool:
    """Book the fee that a fact tells of a locked intent, and return whether it was news."""
    fee = ledger.fee_of(locked, fact, via=via)
    if fee is None or await repository_ledger.with_fees(connection, [locked.id]):
        return False
    changes = Changes()
    changes.entries.append(ledger.fee_booking(locked, fee, via=via, at=fact.at or datetime.now(UTC)))
    await repository.write(connection, changes)
    return True
