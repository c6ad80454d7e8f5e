"""What must be true after any failure: nothing acknowledged is lost, every effect happened once, the books balance."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal

from careforall.drills import repository
from careforall.drills.repository import Recount
from careforall_testing.journey import Journey
from careforall_testing.polling import eventually

SETTLED_S = 90.0


async def all_stored(journey: Journey, gifts: Collection[str]) -> None:
    """Every acknowledged gift is in the database."""
    async with journey.database("donations") as donations:
        assert await repository.stored(donations, gifts) == len(gifts)


async def all_completed(journey: Journey, gifts: Collection[str]) -> None:
    """Every gift told as paid completes."""
    async with journey.database("donations") as donations:

        async def done() -> bool:
            return len(await repository.completed(donations, gifts)) == len(gifts)

        await eventually(done, within_s=SETTLED_S, every_s=0.2, what=f"{len(gifts)} completed gifts")


async def totals_are(journey: Journey, campaign: str, *, given: Decimal, refunded: Decimal = Decimal("0.00"), gifts: int) -> None:
    """The totals of a campaign and a recount of its donations both say what was given."""
    wanted = {"total_amount": str(given), "refunded_amount": str(refunded), "total_donations": gifts}
    await journey.totals_when(campaign, **wanted)
    async with journey.database("donations") as donations:
        assert await repository.recount(donations, campaign) == Recount(given=given, refunded=refunded, gifts=gifts)


async def one_receipt_each(journey: Journey, gifts: Collection[str]) -> None:
    """Every completed gift has exactly one receipt in the mailbox."""
    async with journey.database("notifications") as notifications:

        async def sent() -> bool:
            found = await repository.receipts(notifications, gifts)
            assert set(found.values()) <= {1}
            return len(found) == len(gifts)

        await eventually(sent, within_s=SETTLED_S, every_s=0.5, what=f"{len(gifts)} receipts")


async def books_balance(journey: Journey) -> None:
    """Nothing is on its way any more and the verifier finds no violation."""
    await journey.settled()
    result = await journey.platform.cli("verify", "--full", timeout_s=120)
    assert result.status == 0, result.out + result.err
