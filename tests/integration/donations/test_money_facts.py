"""What payments say, applied to real gifts: in any order, once each; exports that add up; a database that knows the steps."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import permutations, product
from typing import Any
from uuid import UUID

import asyncpg
import httpx2
import nats
import pytest

from careforall.contracts.accounts import UserErased
from careforall.contracts.donations import DonationStatus
from careforall.contracts.payments import PaymentCaptured, PaymentDisputed, PaymentFailed, PaymentRefunded
from careforall.donations.domain import LEGAL_STEPS
from careforall.kit.envelope import Event, seal
from careforall.kit.ids import new_id
from careforall_testing.giving import DONATIONS, GivingHouse, receipt
from careforall_testing.polling import eventually

Given = dict[str, Any]
NOW = datetime(2027, 1, 31, 12, tzinfo=UTC)
STATES: tuple[DonationStatus, ...] = ("PENDING", "COMPLETED", "FAILED", "REFUNDED")


def about(given: Given) -> dict[str, Any]:
    """What every payment event says of a gift."""
    return {
        "intent_id": UUID(given["payment_intent"]["id"]),
        "subject_type": "DONATION",
        "subject_id": UUID(given["id"]),
        "amount": Decimal(given["amount"]),
        "currency": given["currency"],
        "gateway": "simulator",
    }


def captured(given: Given) -> tuple[Event, int]:
    return PaymentCaptured(**about(given), captured_at=NOW), 2


def failed(given: Given) -> tuple[Event, int]:
    return PaymentFailed(**about(given), reason="expired"), 2


def refunded(given: Given, total: str, version: int) -> tuple[Event, int]:
    amount = Decimal(total)
    fully = amount >= Decimal(given["amount"])
    facts = about(given) | {"refund_id": new_id(), "refund_amount": amount, "total_refunded": amount, "refunded_at": NOW}
    return PaymentRefunded(**facts, fully=fully), version


def disputed(given: Given, held: str, version: int, status: Any = "OPEN") -> tuple[Event, int]:
    return PaymentDisputed(**about(given), disputed_amount=Decimal(held), status=status, disputed_at=NOW), version


async def say(house: GivingHouse, *events: tuple[Event, int], copies: int = 1) -> None:
    """Publish as the payments service does; copies carry the same event id under other message ids."""
    client = await nats.connect(house.running.environment["CAREFORALL_NATS_URL"])
    try:
        for event, version in events:
            data = seal(
                event,
                subject=event.SUBJECT,
                event_id=new_id(),
                aggregate_id=event.intent_id,  # type: ignore[attr-defined]  # every payment event names its intent
                aggregate_version=version,
                source="payments",
                correlation_id="test",
            )
            for _ in range(copies):
                await client.jetstream().publish(event.SUBJECT, data, headers={"Nats-Msg-Id": str(new_id())})
    finally:
        await client.close()


async def becomes(house: GivingHouse, given: Given, status: DonationStatus, refund: str = "0.00") -> dict[str, Any]:
    """Wait until a gift has reached a state."""

    async def look() -> dict[str, Any] | None:
        shown: dict[str, Any] = (await house.hot.get(f"{DONATIONS}/{given['id']}", headers=receipt(given))).json()
        return shown if (shown["status"], shown["refunded_amount"]) == (status, refund) else None

    return await eventually(look, what=f"{status} with {refund} refunded")


async def steps_of(house: GivingHouse, given: Given) -> list[tuple[str | None, str]]:
    audit = await house.hot.get(f"{DONATIONS}/{given['id']}/audit", headers=receipt(given))
    return [(entry["from"], entry["to"]) for entry in audit.json()]


async def events_of(house: GivingHouse, given: Given) -> list[str]:
    async with house.running.database("donations") as database:
        rows = await database.fetch("SELECT event_type FROM outbox WHERE aggregate_id = $1 ORDER BY id", UUID(given["id"]))
    return [row["event_type"] for row in rows]


async def test_rule_05_a_history_in_every_order_and_in_copies_ends_the_same(house: GivingHouse, campaign: Given) -> None:
    orders = list(permutations(range(3)))
    gifts = [await house.give(campaign) for _ in orders]
    for given, order in zip(gifts, orders, strict=True):
        facts = [captured(given), refunded(given, "10.00", 3), refunded(given, "25.00", 4)]
        await say(house, *(facts[index] for index in order), copies=2)
    for given in gifts:
        await becomes(house, given, "REFUNDED", "25.00")
        steps = await steps_of(house, given)
        assert steps[:2] == [(None, "PENDING"), ("PENDING", "COMPLETED")]
        assert steps[-1] == ("COMPLETED", "REFUNDED")
        events = await events_of(house, given)
        assert events[:2] == ["donations.created", "donations.completed"]
        assert len(events) == len(steps)


async def test_rule_05_a_full_refund_that_is_heard_alone_completes_its_gift_first(house: GivingHouse, campaign: Given) -> None:
    given = await house.give(campaign)
    await say(house, refunded(given, "25.00", 4))
    await becomes(house, given, "REFUNDED", "25.00")
    assert await steps_of(house, given) == [(None, "PENDING"), ("PENDING", "COMPLETED"), ("COMPLETED", "REFUNDED")]
    assert await events_of(house, given) == ["donations.created", "donations.completed", "donations.refunded"]


async def test_a_failure_after_a_capture_changes_nothing(house: GivingHouse, campaign: Given) -> None:
    given = await house.give(campaign)
    await say(house, captured(given))
    await becomes(house, given, "COMPLETED")
    await say(house, failed(given), refunded(given, "5.00", 3))
    shown = await becomes(house, given, "COMPLETED", "5.00")
    assert shown["version"] == 3
    assert "donations.failed" not in await events_of(house, given)


@pytest.mark.parametrize(("outcome", "held"), [("WON", "0.00"), ("LOST", "25.00")])
async def test_rule_13_a_dispute_lowers_the_net_of_a_gift_in_every_order(
    house: GivingHouse, campaign: Given, outcome: str, held: str
) -> None:
    orders = list(permutations(range(3)))
    gifts = [await house.give(campaign) for _ in orders]
    for given, order in zip(gifts, orders, strict=True):
        facts = [captured(given), disputed(given, "25.00", 4), disputed(given, held, 5, outcome)]
        await say(house, *(facts[index] for index in order), copies=2)
    for given in gifts:
        await _decided(house, given, version=5)
        shown = (await house.hot.get(f"{DONATIONS}/{given['id']}", headers=receipt(given))).json()
        assert (shown["status"], shown["disputed_amount"], shown["refunded_amount"]) == ("COMPLETED", held, "0.00")
        audit = (await house.hot.get(f"{DONATIONS}/{given['id']}/audit", headers=receipt(given))).json()
        assert [entry["disputed_amount"] for entry in audit][-1] == held
        assert [entry["version"] for entry in audit] == list(range(1, shown["version"] + 1))
        assert (await events_of(house, given))[2:] == ["donations.disputed"] * (shown["version"] - 2)


async def test_a_failed_intent_fails_its_gift(house: GivingHouse, campaign: Given) -> None:
    given = await house.give(campaign)
    await say(house, failed(given))
    await becomes(house, given, "FAILED")
    assert await events_of(house, given) == ["donations.created", "donations.failed"]


async def test_a_fact_about_no_gift_becomes_a_dead_letter_whose_retry_works_once(house: GivingHouse, campaign: Given) -> None:
    given = await house.give(campaign)
    async with house.running.database("donations") as database:
        intent = UUID(given["payment_intent"]["id"])
        await database.execute("UPDATE donations SET intent_id = $2 WHERE intent_id = $1", intent, new_id())
        await say(house, captured(given), captured(neighbour := await house.give(campaign)))
        await becomes(house, neighbour, "COMPLETED")
        admin = house.callers.admin()
        path = "/api/v1/admin/donations/outbox"

        async def dead() -> list[dict[str, Any]]:
            letters = (await house.hot.get(f"{path}/dead-letter", headers=admin)).json()["events"]
            return [letter for letter in letters if str(intent) in letter["reason"]]

        letter = (await eventually(dead, within_s=20, what="a dead letter"))[0]
        assert (letter["kind"], letter["consumer"], letter["attempts"]) == ("inbox", "donations-payments", 3)
        await database.execute("UPDATE donations SET intent_id = $1 WHERE id = $2", intent, UUID(given["id"]))
        again = await asyncio.gather(
            *(house.hot.post(f"{path}/retry/{letter['id']}", headers=admin) for _ in range(3)),
            house.hot.post(f"/api/v1/admin/outbox/retry/{letter['id']}", headers=admin),
        )
        assert sorted(answer.status_code for answer in again) == [200, 404, 404, 404]
    await becomes(house, given, "COMPLETED")
    assert await steps_of(house, given) == [(None, "PENDING"), ("PENDING", "COMPLETED")]
    assert await dead() == []


async def test_the_export_speaks_of_moments_not_of_a_servers_clock(house: GivingHouse) -> None:
    collected = await house.campaign(title=f"Times {new_id()}")
    given = await house.give(collected)
    admin = house.callers.admin()

    async def exported(**times: str) -> httpx2.Response:
        wanted = {"campaign_id": collected["id"], "status": "PENDING", **times}
        return await house.hot.get(f"{DONATIONS}/export", params=wanted, headers=admin)

    [row] = csv.DictReader(io.StringIO((await exported(since="2026-01-01T00:00:00+02:00")).text))
    assert row["created_at"] == given["created_at"]
    assert list(csv.DictReader(io.StringIO((await exported(until=row["created_at"])).text))) == []
    refused = {"2026-01-01T00:00:00": "zone_required", "0001-01-01T00:00:00+14:00": "out_of_range"}
    for name, (moment, code) in product(("since", "until"), refused.items()):
        answer = await exported(**{name: moment})
        assert answer.status_code == 422, answer.text
        assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(f"/{name}", code)]


async def test_an_export_that_cannot_begin_is_refused(house: GivingHouse) -> None:
    async with house.running.database("donations") as database, database.transaction():
        await database.execute("LOCK TABLE donations IN ACCESS EXCLUSIVE MODE")
        answer = await house.hot.get(f"{DONATIONS}/export", headers=house.callers.admin())
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (409, "locked", True)


async def test_the_export_adds_up_and_no_cell_starts_a_formula(house: GivingHouse) -> None:
    collected = await house.campaign(title=f"Export {new_id().hex[-12:]}")
    formulas = ['=cmd|"/c calc"!A0', "+1+1", "-1+1", "@SUM(A1)", 'Ada, "the" first', "plain"]
    gifts = [
        await house.give(collected, donor_name=name, amount="10.01", donor_email="+export1@example.org") for name in formulas
    ]
    for given in gifts[:-1]:
        await say(house, captured(given))
    await say(house, refunded(gifts[0], "4.00", 4), disputed(gifts[1], "3.00", 4), disputed(gifts[2], "10.01", 4))
    await say(house, refunded(gifts[2], "5.00", 5))
    for given in (gifts[1], gifts[3], gifts[4]):
        await becomes(house, given, "COMPLETED")
    for given, back in ((gifts[0], "4.00"), (gifts[2], "5.00")):
        await becomes(house, given, "COMPLETED", back)
    for given in gifts[1:3]:
        await _decided(house, given, version=4)
    answer = await house.hot.get(f"{DONATIONS}/export", params={"campaign_id": collected["id"]}, headers=house.callers.admin())
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["id"] for row in rows] == [given["id"] for given in gifts[:-1]], "the pending gift is no money yet"
    assert sum(Decimal(row["amount"]) for row in rows) == Decimal("50.05")
    assert [row["net"] for row in rows] == ["6.01", "7.01", "-5.00", "10.01", "10.01"], "the third lost more than it brought"
    cells = [cell for row in rows for name, cell in row.items() if name != "net"]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t", "\r"))]
    assert [row["name"] for row in rows][:2] == [f"'{name}" for name in formulas[:2]]


async def test_erased_donors_leave_the_facts_and_no_person(house: GivingHouse, campaign: Given) -> None:
    given = await house.give(
        campaign, donor_email="leaving1@example.org", donor_name="Leaving", message="bye", extra_data={"a": 1}
    )
    async with house.running.database("donations") as database:
        key = await database.fetchval("SELECT donor_key FROM donations WHERE id = $1", UUID(given["id"]))
        await _erased(house, key)

        async def gone() -> bool:
            return bool(await database.fetchval("SELECT donor_email = 'erased' FROM donations WHERE id = $1", UUID(given["id"])))

        await eventually(gone, what="erasure")
    shown = (await house.hot.get(f"{DONATIONS}/{given['id']}", headers=receipt(given))).json()
    assert (shown["amount"], shown["donor_name"], shown["message"], shown["extra_data"]) == ("25.00", "", "", None)


async def test_gifts_of_an_account_go_with_it_under_whatever_mail(house: GivingHouse, campaign: Given) -> None:
    user = new_id()
    signed_in = house.callers.user("unproved@example.org", user_id=user, verified=False)
    own = await house.give(campaign, headers=signed_in, donor_email="unproved@example.org", donor_name="Leaving", message="bye")
    others = await house.give(campaign, donor_email="unproved@example.org", donor_name="Staying")
    await _erased(house, "", user_id=user, email="")

    async def kept() -> bool:
        async with house.running.database("donations") as database:
            return bool(await database.fetchval("SELECT donor_email = 'erased' FROM donations WHERE id = $1", UUID(own["id"])))

    await eventually(kept, what="erasure")
    async with house.running.database("donations") as database:
        found = "SELECT donor_email, donor_name, message, user_id, amount FROM donations WHERE id = $1"
        assert tuple(*await database.fetch(found, UUID(own["id"]))) == ("erased", "", "", None, Decimal(25))
        assert tuple(*await database.fetch(found, UUID(others["id"])))[:2] == ("unproved@example.org", "Staying")


async def test_keys_that_name_a_mail_are_forgotten_with_it_and_those_of_others_still_replay(
    house: GivingHouse, campaign: Given
) -> None:
    key = {"Idempotency-Key": "one"}
    gone, stays = "Leaving2@example.org", "leaving2@example.org.example"
    await house.give(campaign, headers=key, donor_email=gone)
    first = await house.give(campaign, headers=key, donor_email=stays)
    scopes = "SELECT scope FROM idempotency_keys WHERE scope LIKE '%leaving2@%'"
    async with house.running.database("donations") as database:
        assert len(await database.fetch(scopes)) == 2
        await _erased(house, "unknown", email=gone)

        async def forgotten() -> bool:
            return [row["scope"] for row in await database.fetch(scopes)] == [f"POST /donations|{stays}"]

        await eventually(forgotten, what="the key is forgotten")
    assert (await house.give(campaign, headers=key, donor_email=stays))["id"] == first["id"]


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
async def test_the_database_itself_takes_legal_steps_only(
    house: GivingHouse, campaign: Given, before: DonationStatus, after: DonationStatus
) -> None:
    given = await house.give(campaign)
    async with house.running.database("donations") as database:
        for status in _path_to(before):
            await database.execute("UPDATE donations SET status = $2 WHERE id = $1", UUID(given["id"]), status)
        update = database.execute("UPDATE donations SET status = $2 WHERE id = $1", UUID(given["id"]), after)
        if after == before or after in LEGAL_STEPS[before]:
            await update
        else:
            with pytest.raises(asyncpg.CheckViolationError, match="illegal step"):
                await update


async def test_history_is_written_once(house: GivingHouse, campaign: Given) -> None:
    given = await house.give(campaign)
    async with house.running.database("donations") as database:
        for statement in ("UPDATE donation_history SET cause = 'x'", "DELETE FROM donation_history"):
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                await database.execute(f"{statement} WHERE donation_id = $1", UUID(given["id"]))


@pytest.mark.parametrize(
    "statement",
    [
        """
        INSERT INTO donations (id, campaign_id, intent_id, donor_email, donor_key, amount, currency, gateway, created_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'a@example.org', 'a', 1, 'EUR', 'simulator', now())
        """,
        "INSERT INTO donation_history (donation_id, version, to_status, cause) VALUES (gen_random_uuid(), 1, 'PENDING', 'test')",
        "UPDATE donations SET campaign_id = gen_random_uuid()",
        "UPDATE campaigns SET id = gen_random_uuid()",
        "DELETE FROM donations",
        "DELETE FROM campaigns",
        "TRUNCATE donations",
        "TRUNCATE campaigns",
    ],
)
async def test_every_gift_has_its_campaign_and_every_step_its_gift(house: GivingHouse, campaign: Given, statement: str) -> None:
    await house.give(campaign)
    async with house.running.database("donations") as database:
        with pytest.raises(asyncpg.ForeignKeyViolationError):
            await database.execute(statement)


@pytest.mark.parametrize("amount", ["25.01", "-0.01"])
async def test_the_database_itself_refuses_refunds_beyond_the_gift(house: GivingHouse, campaign: Given, amount: str) -> None:
    given = await house.give(campaign)
    async with house.running.database("donations") as database:
        await database.execute("UPDATE donations SET status = 'COMPLETED' WHERE id = $1", UUID(given["id"]))
        with pytest.raises(asyncpg.CheckViolationError):
            await database.execute("UPDATE donations SET refunded_amount = $2 WHERE id = $1", UUID(given["id"]), Decimal(amount))


async def _decided(house: GivingHouse, given: Given, version: int) -> None:
    """Wait until a gift has heard of its dispute as of a version of the payment."""

    async def look() -> bool:
        async with house.running.database("donations") as database:
            return bool(
                await database.fetchval("SELECT dispute_version = $2 FROM donations WHERE id = $1", UUID(given["id"]), version)
            )

    await eventually(look, what="the dispute's outcome")


async def _erased(
    house: GivingHouse, donor_key: str, *, user_id: UUID | None = None, email: str = "leaving1@example.org"
) -> None:
    event = UserErased(user_id=user_id or new_id(), email=email, donor_key=donor_key)
    data = seal(
        event,
        subject=event.SUBJECT,
        event_id=new_id(),
        aggregate_id=event.user_id,
        aggregate_version=1,
        source="accounts",
        correlation_id="",
    )
    client = await nats.connect(house.running.environment["CAREFORALL_NATS_URL"])
    await client.jetstream().publish(event.SUBJECT, data)
    await client.close()


def _path_to(status: DonationStatus) -> Sequence[DonationStatus]:
    return {"PENDING": (), "COMPLETED": ("COMPLETED",), "FAILED": ("FAILED",), "REFUNDED": ("COMPLETED", "REFUNDED")}[status]  # type: ignore[return-value]
