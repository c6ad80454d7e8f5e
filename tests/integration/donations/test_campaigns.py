"""Campaigns: bad input field by field, versions in either style, idempotent creation, events with every change."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from careforall.kit.ids import new_id
from careforall_testing.giving import CAMPAIGNS, DONATIONS, GivingHouse

GOOD = {"title": "Wells", "goal": "1000.00", "currency": "EUR"}


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"title": ""}, "/title", "invalid_value"),
        ({"title": "x" * 201}, "/title", "invalid_value"),
        ({"title": "a\x00"}, "/title", "invalid_character"),
        ({"title": "a\nb"}, "/title", "invalid_character"),
        ({"title": "\u202eslleW"}, "/title", "invalid_character"),
        ({"story": "x" * 20_001}, "/story", "invalid_value"),
        ({"story": "\x00"}, "/story", "invalid_character"),
        ({"story": "card 4111 1111 1111 1111"}, "/story", "card_number"),
        ({"goal": "0"}, "/goal", "not_positive"),
        ({"goal": "-1"}, "/goal", "not_positive"),
        ({"goal": "1e30"}, "/goal", "too_large"),
        ({"goal": "1.001"}, "/goal", "too_many_decimals"),
        ({"goal": "NaN"}, "/goal", "not_a_number"),
        ({"goal": "much"}, "/goal", "invalid_value"),
        ({"goal": None}, "/goal", "invalid_value"),
        ({"currency": "eur"}, "/currency", "unknown_currency"),
        ({"currency": "XXQ"}, "/currency", "unknown_currency"),
        ({"currency": "CLF"}, "/currency", "unknown_currency"),
        ({"currency": "XXX"}, "/currency", "unknown_currency"),
        ({"currency": "EURO"}, "/currency", "invalid_value"),
        ({"currency": "JPY", "goal": "10.50"}, "/goal", "too_many_decimals"),
        ({"status": "OPEN"}, "/status", "invalid_value"),
        ({"starts_at": "2027-02-30T00:00:00Z"}, "/starts_at", "invalid_value"),
        ({"starts_at": "10000-01-01T00:00:00Z"}, "/starts_at", "invalid_value"),
        ({"starts_at": "2027-01-31T12:00:00"}, "/starts_at", "zone_required"),
        ({"starts_at": "tomorrow"}, "/starts_at", "invalid_value"),
        ({"starts_at": 7}, "/starts_at", "invalid_value"),
        ({"starts_at": "2027-02-01T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z"}, "/ends_at", "before_start"),
        ({"minimum": "10", "maximum": "5"}, "/maximum", "below_minimum"),
        ({"minimum": "0"}, "/minimum", "not_positive"),
        ({"suggested_amounts": ["1", "0"]}, "/suggested_amounts/1", "not_positive"),
        ({"suggested_amounts": ["1"] * 11}, "/suggested_amounts", "invalid_value"),
        ({"suggested_amounts": "1"}, "/suggested_amounts", "invalid_value"),
        ({"id": "x"}, "/id", "unknown_field"),
        ({"version": 7}, "/version", "unknown_field"),
        ({"created_at": "2027-01-31T12:00:00Z"}, "/created_at", "unknown_field"),
    ],
    ids=str,
)
async def test_a_field_that_cannot_be_accepted_is_named_and_nothing_is_stored(
    house: GivingHouse, changes: dict[str, Any], pointer: str, code: str
) -> None:
    async with house.running.database("donations") as database:
        before = await database.fetchval("SELECT count(*) FROM campaigns")
        answer = await house.hot.post(CAMPAIGNS, json=GOOD | changes, headers=house.callers.admin())
        assert answer.status_code == 422, answer.text
        assert (pointer, code) in [(error["pointer"], error["code"]) for error in answer.json()["errors"]], answer.text
        assert await database.fetchval("SELECT count(*) FROM campaigns") == before


async def test_16_moments_of_any_zone_are_kept_as_moments(house: GivingHouse) -> None:
    made = await house.campaign(starts_at="2027-03-28T02:30:00+01:00", ends_at="2027-06-30T23:59:59Z")
    moment = datetime(2027, 3, 28, 1, 30, tzinfo=UTC)
    shown = (await house.hot.get(f"{CAMPAIGNS}/{made['id']}")).json()
    assert datetime.fromisoformat(made["starts_at"]) == datetime.fromisoformat(shown["starts_at"]) == moment


async def test_limits_are_told_with_the_places_of_their_currency(house: GivingHouse) -> None:
    made = await house.campaign(minimum="2", maximum="30")
    for amount, told in (("1.00", "the minimum is 2.00 EUR"), ("31.00", "the maximum is 30.00 EUR")):
        gift = {"campaign_id": made["id"], "donor_email": "donor1@example.org", "amount": amount}
        assert (await house.hot.post(DONATIONS, json=gift)).json()["detail"] == told


async def test_what_staff_are_told_of_a_campaign_is_what_everybody_reads(house: GivingHouse) -> None:
    times = {"starts_at": "2027-03-28T02:30:00+01:00", "ends_at": "2027-06-30T23:59:59.1234567Z"}
    body = GOOD | times | {"status": "LIVE"}
    answer = await house.hot.post(CAMPAIGNS, json=body, headers=house.callers.admin())
    path = f"{CAMPAIGNS}/{answer.json()['id']}"
    for title in ("Two", "Three"):
        read = await house.hot.get(path)
        assert answer.json() | {"progress": None} == read.json() | {"progress": None}
        assert answer.headers["etag"] == read.headers["etag"]
        assert answer.json()["starts_at"] == "2027-03-28T01:30:00Z"
        answer = await house.hot.patch(path, json={"title": title} | times, headers=house.callers.admin())


async def test_a_change_with_the_version_that_was_read_is_taken_and_tells_the_next(house: GivingHouse) -> None:
    made = await house.campaign()
    path, admin = f"{CAMPAIGNS}/{made['id']}", house.callers.admin()
    by_body = await house.hot.patch(path, json={"title": "One", "version": 1}, headers=admin)
    assert (by_body.status_code, by_body.json()["version"], by_body.headers["etag"]) == (200, 2, '"2"')
    by_header = await house.hot.patch(path, json={"title": "Two"}, headers={**admin, "If-Match": by_body.headers["etag"]})
    assert (by_header.status_code, by_header.json()["title"], by_header.json()["version"]) == (200, "Two", 3)
    assert (await house.hot.get(path)).headers["etag"] == '"3"'


@pytest.mark.parametrize(("body", "header"), [({"version": 1}, None), ({}, '"1"'), ({}, 'W/"1"'), ({"version": 99}, None)])
async def test_a_stale_version_in_either_style_is_a_409_that_tells_the_current_one(
    house: GivingHouse, body: dict[str, Any], header: str | None
) -> None:
    made = await house.campaign()
    path, admin = f"{CAMPAIGNS}/{made['id']}", house.callers.admin()
    await house.hot.patch(path, json={"title": "Meanwhile"}, headers=admin)
    headers = {**admin, **({"If-Match": header} if header else {})}
    stale = await house.hot.patch(path, json={"title": "Late", **body}, headers=headers)
    assert (stale.status_code, stale.json()["code"], stale.json()["current_version"]) == (409, "version_conflict", 2)
    assert (await house.hot.get(path)).json()["title"] == "Meanwhile"


@pytest.mark.parametrize("header", ["x", '"x"', "9" * 5000, '"-1"'])
async def test_an_if_match_that_is_no_version_of_ours_is_a_422(house: GivingHouse, campaign: dict[str, Any], header: str) -> None:
    headers = {**house.callers.admin(), "If-Match": header}
    answer = await house.hot.patch(f"{CAMPAIGNS}/{campaign['id']}", json={"title": "x"}, headers=headers)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/If-Match")


async def test_of_concurrent_changes_of_one_version_exactly_one_is_taken(house: GivingHouse) -> None:
    made = await house.campaign()
    path, admin = f"{CAMPAIGNS}/{made['id']}", house.callers.admin()
    sent = [door.patch(path, json={"title": "x", "version": 1}, headers=admin) for door in (house.hot, house.cold) * 4]
    answers = await asyncio.gather(*sent)
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7, [answer.text for answer in answers]
    assert (await house.hot.get(path)).json()["version"] == 2


async def test_an_illegal_step_of_a_campaign_is_a_409_and_changes_nothing(house: GivingHouse) -> None:
    made = await house.campaign(status="ENDED")
    answer = await house.hot.patch(f"{CAMPAIGNS}/{made['id']}", json={"status": "LIVE"}, headers=house.callers.admin())
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_14_the_currency_of_a_campaign_cannot_be_changed(house: GivingHouse, campaign: dict[str, Any]) -> None:
    answer = await house.hot.patch(f"{CAMPAIGNS}/{campaign['id']}", json={"currency": "USD"}, headers=house.callers.admin())
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_field")


async def test_creating_under_one_key_twice_makes_one_campaign(house: GivingHouse) -> None:
    headers = {**house.callers.user(), **house.callers.admin(), "Idempotency-Key": str(new_id())}
    answers = [await house.hot.post(CAMPAIGNS, json=GOOD, headers=headers) for _ in range(2)]
    assert answers[0].content == answers[1].content
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true"]
    other = await house.hot.post(CAMPAIGNS, json=GOOD | {"title": "Other"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_every_change_says_so_in_the_outbox_of_its_own_transaction(house: GivingHouse) -> None:
    made = await house.campaign()
    for body in ({"title": "x"}, {"status": "ENDED"}):
        await house.hot.patch(f"{CAMPAIGNS}/{made['id']}", json=body, headers=house.callers.admin())
    async with house.running.database("donations") as database:
        rows = await database.fetch("SELECT event_type, payload FROM outbox WHERE aggregate_id = $1 ORDER BY id", made["id"])
    assert [row["event_type"] for row in rows] == ["campaigns.created", "campaigns.updated", "campaigns.ended"]
    assert [json.loads(row["payload"])["aggregate_version"] for row in rows] == [1, 2, 3]
