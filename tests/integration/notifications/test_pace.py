"""Strangers make the platform mail an address only so often; its owner, and what was paid, are always written to."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from careforall.contracts.accounts import EmailVerified, UserRegistered
from careforall.kit.db import Database
from careforall.kit.ids import new_id
from careforall.notifications import repository

MAIL = "donor1@example.org"
MOST = 10


async def told(story: Any) -> Counter[tuple[str, str]]:
    return Counter((row["template"], row["channel"]) for row in await story.rows())


async def account(story: Any, *, proven: bool) -> Any:
    user = new_id()
    await story.tell(UserRegistered(user_id=user, email=MAIL, first_name="", verification_url="http://127.0.0.1/v"))
    if proven:
        await story.tell(EmailVerified(user_id=user, email=MAIL), version=2)
    return user


@pytest.mark.parametrize("size", [1, 5, 23])
async def test_pledges_of_strangers_mail_an_address_ten_times_an_hour(story: Any, size: int) -> None:
    gifts = [story.created(donor_email=(MAIL, "Donor1@Example.org")[number % 2]) for number in range(23)]
    for start in range(0, len(gifts), size):
        await story.tell(*gifts[start : start + size])
    await story.tell(story.created(donor_email="donor2@example.org"))

    rows = await story.rows()
    assert Counter(row["recipient"].lower() for row in rows) == {MAIL: MOST, "donor2@example.org": 1}
    assert {row["subject_id"] for row in rows[:MOST]} == {gift.donation_id for gift in gifts[:MOST]}


async def test_every_paid_gift_has_its_receipt_whatever_was_left_out(story: Any) -> None:
    gifts = [story.created() for _ in range(MOST + 5)]
    await story.tell(*gifts)
    await story.tell(*(story.completed(donation_id=gift.donation_id) for gift in gifts))
    await story.tell(*(story.refunded(donation_id=gift.donation_id) for gift in gifts))

    assert await told(story) == {
        ("donation_received", "EMAIL"): MOST,
        ("donation_completed", "EMAIL"): len(gifts),
        ("donation_refunded", "EMAIL"): len(gifts),
    }


async def test_pledges_that_fail_mail_no_more_often_than_those_that_are_made(story: Any) -> None:
    await story.tell(*(story.failed() for _ in range(MOST + 5)))
    assert await told(story) == {("donation_failed", "EMAIL"): MOST}


async def test_an_hour_later_an_address_is_mailed_again(story: Any, database: Database) -> None:
    await story.tell(*(story.created() for _ in range(MOST + 5)))
    async with database.connection() as connection:
        await connection.execute("UPDATE notifications SET created_at = created_at - interval '61 minutes'")
    await story.tell(story.created())
    assert await told(story) == {("donation_received", "EMAIL"): MOST + 1}


async def test_the_signed_in_owner_of_a_proven_mail_gets_every_mail_and_strangers_send_none_instead(story: Any) -> None:
    owner = await account(story, proven=True)
    own = [story.created(user_id=owner) for _ in range(MOST + 5)]
    await story.tell(*own[:3], *(story.created() for _ in range(MOST + 5)), *own[3:])

    mailed = {row["subject_id"] for row in await story.rows() if row["channel"] == "EMAIL"}
    assert {gift.donation_id for gift in own} <= mailed
    assert (await told(story))["donation_received", "EMAIL"] == len(own) + MOST
    assert (await told(story))["donation_received", "IN_APP"] == len(own) + MOST + 5


@pytest.mark.parametrize("proven", [True, False])
async def test_an_account_that_did_not_prove_the_mail_counts_as_a_stranger(story: Any, *, proven: bool) -> None:
    user = await account(story, proven=proven)
    await story.tell(*(story.created(user_id=new_id() if proven else user) for _ in range(MOST + 5)))
    assert (await told(story))["donation_received", "EMAIL"] == MOST


async def test_an_address_with_many_messages_is_not_read_whole(story: Any, database: Database) -> None:
    await story.tell(*(story.completed() for _ in range(2000)))
    async with database.connection() as connection:
        await connection.execute("UPDATE notifications SET created_at = created_at - interval '2 hours'")
        await connection.execute("ANALYZE notifications")
        sql = repository._MAILED_LATELY  # noqa: SLF001 - its plan is what is asked
        plan = await connection.fetch(f"EXPLAIN {sql}", [MAIL], ["donation_received"], MOST)
    text = "\n".join(row[0] for row in plan)
    assert "notifications_recipient_recent" in text
    assert "created_at >" in text.partition("Index Cond")[2].splitlines()[0]


async def test_several_processes_mail_no_more_than_each_may(story: Any) -> None:
    await asyncio.gather(*(story.tell(*(story.created() for _ in range(50))) for _ in range(2)))
    assert MOST <= (await told(story))["donation_received", "EMAIL"] <= 2 * MOST
