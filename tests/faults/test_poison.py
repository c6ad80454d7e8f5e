"""Messages that cannot be applied, among good ones: the good pass, the bad become dead letters with their reason."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import nats
import pytest

from careforall.contracts.donations import DonationCreated
from careforall.drills.load import AMOUNT, Load
from careforall.kit.envelope import seal
from careforall.kit.ids import id_at, new_id
from careforall_testing import outcomes
from careforall_testing.journey import Journey, running_platform
from careforall_testing.polling import eventually
from careforall_testing.sizes import sizes

SIZES = sizes()
DEAD_LETTERS = "/api/v1/admin/outbox/dead-letter"
UNLUCKY = "13.13"
POISON = f"ALTER TABLE payment_intents ADD CONSTRAINT poison CHECK (amount <> {UNLUCKY}) NOT VALID"
ANTIDOTE = "ALTER TABLE payment_intents DROP CONSTRAINT poison"
SUBJECT = DonationCreated.SUBJECT
CONSUMER = "payments-donations"
WITHIN_S = 60.0


@pytest.fixture(scope="module")
async def journey() -> AsyncIterator[Journey]:
    async with running_platform() as journey:
        yield journey


async def dead_letters(journey: Journey, *, consumer: str = CONSUMER) -> list[dict[str, Any]]:
    """The dead letters of a consumer as staff see them."""
    found = await journey.as_admin(f"{DEAD_LETTERS}?limit=100")
    return [letter for letter in found["events"] if letter["consumer"] == consumer]


async def publish(journey: Journey, data: bytes) -> None:
    """Put bytes on the subject of new donations, past every outbox."""
    client = await nats.connect(journey.servers.nats.url)
    try:
        await client.jetstream().publish(SUBJECT, data)
    finally:
        await client.close()


def donation(**changes: Any) -> bytes:
    """A sealed event about a donation nobody made."""
    identifier = new_id()
    event = DonationCreated(
        donation_id=identifier,
        campaign_id=new_id(),
        intent_id=new_id(),
        amount=AMOUNT,
        currency="EUR",
        status="PENDING",
        donor_key="nobody",
        donor_email="donor1@example.org",
        created_at=datetime.now(UTC),
    )
    sealed = seal(
        event,
        subject=SUBJECT,
        event_id=new_id(),
        aggregate_id=identifier,
        aggregate_version=1,
        source="donations",
        correlation_id="poison",
    )
    return json.dumps(json.loads(sealed) | changes).encode()


async def good_gifts_pass(journey: Journey) -> None:
    """A load of good gifts goes through, whatever lies between them."""
    load = Load(journey, await journey.campaign())
    await load.prepare(SIZES.good)
    await load.pay_everything()
    await outcomes.all_completed(journey, load.gifts.keys())
    await outcomes.totals_are(journey, load.campaign, given=AMOUNT * SIZES.good, gifts=SIZES.good)


async def test_a_message_whose_handler_fails_delays_nobody_and_can_be_tried_again_once(journey: Journey) -> None:
    campaign = await journey.campaign()
    async with journey.platform.database("payments") as payments:
        await payments.execute(POISON)
        unlucky = [await journey.give(campaign, amount=UNLUCKY) for _ in range(SIZES.poison)]
        await good_gifts_pass(journey)

        async def buried() -> list[dict[str, Any]] | None:
            found = [letter for letter in await dead_letters(journey) if letter["event_type"] == SUBJECT]
            return found if len(found) == len(unlucky) else None

        letters = await eventually(buried, within_s=WITHIN_S, every_s=0.2, what="dead letters")
        await payments.execute(ANTIDOTE)
    assert {letter["aggregate_id"] for letter in letters} == {gift["id"] for gift in unlucky}
    assert all("poison" in letter["reason"] and letter["attempts"] == 3 for letter in letters)
    await _retried_once(journey, letters)
    for gift in unlucky:
        await journey.simulate("success", gift["payment_intent"]["id"])
        await journey.donation_in(gift, "COMPLETED")
    await outcomes.one_receipt_each(journey, [gift["id"] for gift in unlucky])
    await outcomes.books_balance(journey)


async def _retried_once(journey: Journey, letters: list[dict[str, Any]]) -> None:
    """Each dead letter can be put back to work, and then there is no such letter any more."""
    for letter in letters:
        path = f"/api/v1/admin/outbox/retry/{letter['id']}"
        first = await journey.client.post(path, headers=journey.admin)
        again = await journey.client.post(path, headers=journey.admin)
        assert (first.status_code, first.json()["success"]) == (200, True)
        assert (again.status_code, again.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("no JSON", b"this is no JSON", "undecodable"),
        ("nothing at all", b"", "undecodable"),
        ("no envelope", b"{}", "undecodable"),
        ("no UTF-8", b'{"event_id": "\xff"}', "undecodable"),
        ("a payload of another shape", donation(payload={"amount": []}), "undecodable"),
        (
            "an id older than any inbox remembers",
            donation(event_id=str(id_at(datetime.now(UTC) - timedelta(days=31), 31))),
            "beyond",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
async def test_what_cannot_be_read_is_a_dead_letter_with_its_reason(
    journey: Journey, name: str, data: bytes, reason: str
) -> None:
    known = {letter["id"] for letter in await dead_letters(journey)}
    await publish(journey, data)

    async def buried() -> dict[str, Any] | None:
        return next((letter for letter in await dead_letters(journey) if letter["id"] not in known), None)

    letter = await eventually(buried, within_s=WITHIN_S, every_s=0.1, what=f"a dead letter for {name}")
    assert letter["reason"].startswith(reason)
    gift = await journey.completed_gift()
    assert (await journey.donation(gift))["version"] == 2


async def test_an_unknown_version_is_parked_and_stops_nobody(journey: Journey) -> None:
    known = {letter["id"] for letter in await dead_letters(journey)}
    parked = await _parked(journey)
    await publish(journey, donation(version=99))

    async def put_aside() -> bool:
        return await _parked(journey) == parked + 1

    await eventually(put_aside, within_s=WITHIN_S, every_s=0.1, what="a parked message")
    await journey.completed_gift()
    assert {letter["id"] for letter in await dead_letters(journey)} == known


async def _parked(journey: Journey) -> int:
    """How many messages the payments consumer has put aside, as its process counts them."""
    metrics = (await journey.client.get(f"{journey.platform.processes[1].url}/metrics")).text
    wanted = f'messages_consumed_total{{consumer="{CONSUMER}",outcome="parked"}}'
    return sum(int(float(line.rpartition(" ")[2])) for line in metrics.splitlines() if line.startswith(wanted))
