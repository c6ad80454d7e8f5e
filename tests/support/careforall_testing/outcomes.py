"""What must be true after any failure: nothing acknowledged is lost, every effect happened once, the books balance."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from uuid import UUID

from careforall_testing.journey import Journey
from careforall_testing.polling import eventually

SETTLED_S = 90.0
_STORED = "SELECT count(*) FROM donations WHERE id = ANY($1::uuid[])"
_PAID = "SELECT count(*) FROM donations WHERE id = ANY($1::uuid[]) AND status IN ('COMPLETED', 'REFUNDED')"
_RECEIPTS = """
SELECT notifications.subject_id, count(*) AS receipts
FROM mailbox_messages JOIN notifications USING (id)
WHERE notifications.template = 'donation_completed' AND notifications.subject_id = ANY($1::uuid[])
GROUP BY notifications.subject_id
"""
_RECOUNT = """
SELECT coalesce(sum(amount), 0) AS given, coalesce(sum(refunded_amount), 0) AS refunded, count(*) AS gifts
FROM donations WHERE campaign_id = $1 AND status IN ('COMPLETED', 'REFUNDED')
"""


async def all_stored(journey: Journey, gifts: Collection[str]) -> None:
    """Every acknowledged gift is in the database."""
    async with journey.platform.database("donations") as donations:
        assert await donations.fetchval(_STORED, _ids(gifts)) == len(gifts)


async def all_completed(journey: Journey, gifts: Collection[str]) -> None:
    """Every gift told as paid completes."""
    async with journey.platform.database("donations") as donations:

        async def done() -> bool:
            return bool(await donations.fetchval(_PAID, _ids(gifts)) == len(gifts))

        await eventually(done, within_s=SETTLED_S, every_s=0.2, what=f"{len(gifts)} completed gifts")


async def totals_are(journey: Journey, campaign: str, *, given: Decimal, refunded: Decimal = Decimal("0.00"), gifts: int) -> None:
    """The totals of a campaign and a recount of its donations both say what was given."""
    wanted = {"total_amount": str(given), "refunded_amount": str(refunded), "total_donations": gifts}
    await journey.totals_when(campaign, **wanted)
    async with journey.platform.database("donations") as donations:
        row = await donations.fetchrow(_RECOUNT, UUID(campaign))
    assert row is not None
    assert (row["given"], row["refunded"], row["gifts"]) == (given, refunded, gifts)


async def one_receipt_each(journey: Journey, gifts: Collection[str]) -> None:
    """Every completed gift has exactly one receipt in the mailbox."""
    async with journey.platform.database("notifications") as notifications:

        async def sent() -> bool:
            rows = await notifications.fetch(_RECEIPTS, _ids(gifts))
            assert {row["receipts"] for row in rows} <= {1}
            return len(rows) == len(gifts)

        await eventually(sent, within_s=SETTLED_S, every_s=0.5, what=f"{len(gifts)} receipts")


async def books_balance(journey: Journey) -> None:
    """Nothing is on its way any more and the verifier finds no violation."""
    await journey.settled()
    result = await journey.platform.cli("verify", "--full", timeout_s=120)
    assert result.status == 0, result.out + result.err


def _ids(gifts: Collection[str]) -> list[UUID]:
    return [UUID(gift) for gift in gifts]
