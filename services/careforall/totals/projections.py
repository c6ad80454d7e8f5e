"""Folds donation events into base, donors and counters: any order, any number of copies, one result (rules 5 and 14)."""

from collections.abc import Sequence
from uuid import UUID

from careforall.kit.db import Connection
from careforall.totals import repository
from careforall.totals.domain import Change, Gift, changes, corrections, newest
from careforall.totals.errors import CurrencyMismatch


async def fold(connection: Connection, gifts: Sequence[Gift]) -> dict[UUID, int]:
    """Fold a batch in the caller's transaction; return the new revision of each campaign it moved.

    A donation met for the first time is inserted with its newest state. One that was there before is read in a second
    statement, under its lock, because the insert that lost cannot see the winner; its counters move by new minus old.

    Raises:
        CurrencyMismatch: A gift has another currency than its campaign.
    """
    batch = newest(gifts)
    if not batch:
        return {}
    inserted = await repository.insert_missing(connection, batch)
    added = [gift for gift in batch if gift.donation_id in inserted]
    corrected = await _correct(connection, [gift for gift in batch if gift.donation_id not in inserted])
    new_donors = await repository.count_donors(connection, added) if added else {}
    return await _move(connection, changes(added, corrected, new_donors))


async def _correct(connection: Connection, gifts: Sequence[Gift]) -> list[tuple[Gift, Gift]]:
    if not gifts:
        return []
    kept = await repository.lock_base(connection, [gift.donation_id for gift in gifts])
    corrected = corrections(kept, gifts)
    if corrected:
        await repository.correct_base(connection, [after for _, after in corrected])
    return corrected


async def _move(connection: Connection, moves: Sequence[Change]) -> dict[UUID, int]:
    if not moves:
        return {}
    revisions = await repository.move_counters(connection, moves)
    if refused := [move for move in moves if move.campaign_id not in revisions]:
        raise CurrencyMismatch(f"campaign {refused[0].campaign_id} does not collect {refused[0].currency}")
    return revisions
