"""The bad-input catalogue on POST /donations, one named test per kind, through the hot path and through the framework.

Each refusal has its exact status, code and pointer; nothing is stored; nothing is a 5xx.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx2
import pytest

from careforall.kit.ids import NIL, new_id
from careforall_testing.giving import DONATIONS, GivingHouse, gift

JSON = {"Content-Type": "application/json"}
PAN = "4111 1111 1111 1111"


class Refused:
    """Sends bodies and insists on how they are refused."""

    def __init__(self, house: GivingHouse, door: httpx2.AsyncClient) -> None:
        self._house = house
        self._door = door

    async def raw(
        self, body: Any, status: int, code: str, pointer: str | None = None, *, field: str = "", headers: Any = None
    ) -> dict[str, Any]:
        """Send bytes; the refusal must be exactly this one, and leave nothing behind."""
        before = await self._house.stored()
        answer = await self._door.post(DONATIONS, content=body, headers={**JSON, **(headers or {})})
        document: dict[str, Any] = answer.json()
        assert (answer.status_code, document["code"]) == (status, code), answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert document["request_id"] == answer.headers["x-request-id"]
        if pointer is not None:
            found = [(error["pointer"], error["code"]) for error in document["errors"]]
            assert (pointer, field or code) in found, answer.text
        assert await self._house.stored() == before
        return document

    async def field(self, body: dict[str, Any], pointer: str, field: str = "invalid_value", *, headers: Any = None) -> None:
        """Send a body of which one field cannot be accepted."""
        await self.raw(json.dumps(body).encode(), 422, "invalid_value", pointer, field=field, headers=headers)


@pytest.fixture
def refused(house: GivingHouse, door: httpx2.AsyncClient) -> Refused:
    return Refused(house, door)


Campaign = dict[str, Any]


# 1


@pytest.mark.parametrize("body", [b"{", b'{"campaign_id": "', b"{}}", b"x", b" "])
async def test_01_truncated_json(refused: Refused, body: bytes) -> None:
    await refused.raw(body, 400, "malformed_json")


async def test_01_an_empty_body(refused: Refused) -> None:
    await refused.raw(b"", 400, "malformed_json")


@pytest.mark.parametrize("body", [b"[]", b"null", b"7", b'"gift"', b"true"])
async def test_01_a_top_level_value_that_is_no_object(refused: Refused, body: bytes) -> None:
    await refused.raw(body, 422, "invalid_value", "")


@pytest.mark.parametrize("missing", ["campaign_id", "donor_email", "amount"])
async def test_01_a_missing_field(refused: Refused, campaign: Campaign, missing: str) -> None:
    await refused.field(gift(campaign, **{missing: None}), f"/{missing}", "required_field")


# 2


@pytest.mark.parametrize("twice", ['"amount": "1.00"', '"extra_data": {"a": 1, "a": 2}'])
async def test_02_duplicate_keys(refused: Refused, campaign: Campaign, twice: str) -> None:
    body = json.dumps(gift(campaign)).removesuffix("}") + f", {twice}}}"
    await refused.raw(body.encode(), 400, "malformed_json")


# 3


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity"])
async def test_03_nan_and_infinity_are_no_json(refused: Refused, campaign: Campaign, number: str) -> None:
    await refused.raw(_with_amount(campaign, number), 400, "malformed_json")


async def test_03_a_number_beyond_every_float(refused: Refused, campaign: Campaign) -> None:
    await refused.raw(_with_amount(campaign, "1e400"), 422, "invalid_value", "/amount", field="too_large")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "sNaN"])
async def test_03_nan_and_infinity_as_text(refused: Refused, campaign: Campaign, number: str) -> None:
    await refused.field(gift(campaign, amount=number), "/amount", "not_a_number")


# 4


@pytest.mark.parametrize(
    ("amount", "code"),
    [
        ("0", "not_positive"),
        ("-0", "not_positive"),
        ("0.00", "not_positive"),
        ("-5.00", "not_positive"),
        ("9223372036854775808", "too_large"),
        ("1" + "0" * 20, "too_large"),
        ("1.001", "too_many_decimals"),
        ("0.30000000000000004", "too_many_decimals"),
        ("0.99", "below_minimum"),
        ("10000.01", "above_maximum"),
    ],
)
async def test_04_an_amount_that_is_no_gift(refused: Refused, campaign: Campaign, amount: str, code: str) -> None:
    await refused.field(gift(campaign, amount=amount), "/amount", code)


@pytest.mark.parametrize("amount", ["ten", "", "1,50", "1 000", "0x10", [], {}, True])
async def test_04_an_amount_that_is_no_number(refused: Refused, campaign: Campaign, amount: Any) -> None:
    await refused.field(gift(campaign, amount=amount), "/amount")


async def test_04_an_amount_that_is_null(refused: Refused, campaign: Campaign) -> None:
    await refused.raw(_with_amount(campaign, "null"), 422, "invalid_value", "/amount")


@pytest.mark.parametrize(
    ("number", "code"), [("0.30000000000000004", "too_many_decimals"), ("1e30", "too_large"), ("-1", "not_positive")]
)
async def test_04_an_amount_as_a_number_is_read_exactly(refused: Refused, campaign: Campaign, number: str, code: str) -> None:
    await refused.raw(_with_amount(campaign, number), 422, "invalid_value", "/amount", field=code)


async def test_04_cents_of_a_currency_that_has_none(refused: Refused, house: GivingHouse) -> None:
    yen = await house.campaign(currency="JPY", goal="100000")
    await refused.field(gift(yen, amount="100.50"), "/amount", "too_many_decimals")


async def test_04_a_plain_number_with_cents_is_kept_to_the_cent(door: httpx2.AsyncClient, campaign: Campaign) -> None:
    answer = await door.post(DONATIONS, content=_with_amount(campaign, "10.10"), headers=JSON)
    assert (answer.status_code, answer.json()["amount"]) == (201, "10.10")


# 5


@pytest.mark.parametrize(
    ("currency", "code"), [("XXQ", "unknown_currency"), ("eur", "unknown_currency"), ("USD", "foreign_currency")]
)
async def test_05_a_currency_that_is_unknown_lower_case_or_not_the_campaign_s(
    refused: Refused, campaign: Campaign, currency: str, code: str
) -> None:
    await refused.field(gift(campaign, currency=currency), "/currency", code)


@pytest.mark.parametrize("currency", ["EURO", "E", "", 978, ["EUR"]])
async def test_05_a_currency_of_another_shape(refused: Refused, campaign: Campaign, currency: Any) -> None:
    await refused.field(gift(campaign, currency=currency), "/currency")


# 6


@pytest.mark.parametrize("depth", [33, 10_000])
async def test_06_nesting_without_end(refused: Refused, campaign: Campaign, depth: int) -> None:
    deep = "[" * depth + "]" * depth
    body = json.dumps(gift(campaign, extra_data={"deep": 0})).replace("0}", f"{deep}}}")
    await refused.raw(body.encode(), 400, "malformed_json")


# 7


async def test_07_a_body_above_the_cap(refused: Refused, campaign: Campaign) -> None:
    document = await refused.raw(json.dumps(gift(campaign, message="x" * 70_000)).encode(), 413, "body_too_large")
    assert document["limit"] == 64 * 1024


async def test_07_a_body_above_the_cap_in_chunks_without_a_length(refused: Refused) -> None:
    async def chunks() -> Any:
        for _ in range(20):
            yield b" " * 8192
            await asyncio.sleep(0)

    await refused.raw(chunks(), 413, "body_too_large")


# 8


async def test_08_a_compressed_body(refused: Refused, campaign: Campaign) -> None:
    body = json.dumps(gift(campaign)).encode()
    await refused.raw(body, 415, "unsupported_media_type", headers={"Content-Encoding": "gzip"})


# 9


@pytest.mark.parametrize(
    "kind",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/json; charset=utf-16",
        "",
    ],
)
async def test_09_another_content_type(refused: Refused, campaign: Campaign, kind: str) -> None:
    await refused.raw(json.dumps(gift(campaign)).encode(), 415, "unsupported_media_type", headers={"Content-Type": kind})


async def test_09_no_content_type(house: GivingHouse, door: httpx2.AsyncClient, campaign: Campaign) -> None:
    before = await house.stored()
    answer = await door.post(DONATIONS, content=json.dumps(gift(campaign)).encode())
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
    assert await house.stored() == before


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
async def test_09_another_encoding_or_a_byte_order_mark(refused: Refused, campaign: Campaign, encoding: str) -> None:
    await refused.raw(json.dumps(gift(campaign)).encode(encoding), 400, "malformed_json")


async def test_09_invalid_utf_8(refused: Refused, campaign: Campaign) -> None:
    body = json.dumps(gift(campaign, donor_name="Ada")).encode().replace(b"Ada", b"\xff\xfe")
    await refused.raw(body, 400, "malformed_json")


async def test_09_lone_surrogates(refused: Refused, campaign: Campaign) -> None:
    body = json.dumps(gift(campaign, donor_name="Ada")).replace("Ada", "\\ud800")
    await refused.raw(body.encode(), 400, "malformed_json")


# 10


@pytest.mark.parametrize("field", ["donor_name", "message"])
async def test_10_nul_characters(refused: Refused, campaign: Campaign, field: str) -> None:
    await refused.field(gift(campaign, **{field: "a\x00b"}), f"/{field}", "invalid_character")


async def test_10_nul_characters_in_a_mail(refused: Refused, campaign: Campaign) -> None:
    await refused.field(gift(campaign, donor_email="a\x00b@example.org"), "/donor_email", "invalid_email")


@pytest.mark.parametrize("extra", [{"a": "\x00"}, {"\x00": 1}, {"a": [{"b": "\x00"}]}])
async def test_10_nul_characters_in_extra_data(refused: Refused, campaign: Campaign, extra: Any) -> None:
    await refused.field(gift(campaign, extra_data=extra), "/extra_data", "too_long")


async def test_10_what_only_looks_like_an_escaped_nul_is_kept(
    house: GivingHouse, door: httpx2.AsyncClient, campaign: Campaign
) -> None:
    answer = await door.post(DONATIONS, json=gift(campaign, extra_data={"path": "C:\\u0000", "n": 1.5}))
    assert answer.status_code in {201, 422}
    assert answer.status_code == 201 or answer.json()["errors"][0]["pointer"] == "/extra_data"
    assert (await house.hot.get("/readyz")).is_success


# 11


@pytest.mark.parametrize("name", ["a\r\nBcc: x", "\u202eada", "a\u200bda", "\x1b[31m", "ada\ufeff", "\x7f"])
async def test_11_control_and_format_characters_in_a_name(refused: Refused, campaign: Campaign, name: str) -> None:
    await refused.field(gift(campaign, donor_name=name), "/donor_name", "invalid_character")


async def test_11_combining_marks_without_end(refused: Refused, campaign: Campaign) -> None:
    await refused.field(gift(campaign, donor_name="e" + "\u0301" * 5000), "/donor_name")


@pytest.mark.parametrize(
    "mail",
    [
        "",
        "x",
        "@example.org",
        "a@",
        "a@b",
        "a b@example.org",
        "a@example.org\r\nBcc: b@example.org",
        "a@@example.org",
        "<a@example.org>",
    ],
)
async def test_11_a_mail_that_is_none(refused: Refused, campaign: Campaign, mail: str) -> None:
    body = gift(campaign, donor_email=mail)
    code = "invalid_value" if len(mail) < 3 else "invalid_email"
    await refused.field(body, "/donor_email", code)


async def test_11_a_mail_of_a_thousand_characters(refused: Refused, campaign: Campaign) -> None:
    await refused.field(gift(campaign, donor_email="a" * 1000 + "@example.org"), "/donor_email")


async def test_11_the_two_unicode_forms_of_a_mail_are_one_donor(
    house: GivingHouse, door: httpx2.AsyncClient, campaign: Campaign
) -> None:
    for mail in ("jos\u00e9@example.org", "JOSE\u0301@example.org"):
        assert (await door.post(DONATIONS, json=gift(campaign, donor_email=mail))).status_code == 201
    async with house.running.database("donations") as database:
        keys = await database.fetchval(
            "SELECT count(DISTINCT donor_key) FROM donations WHERE donor_email LIKE 'jos_@example.org'"
        )
    assert keys == 1


# 12


@pytest.mark.parametrize(
    "payload", ["'; DROP TABLE donations; --", "<script>alert(1)</script>", "{{7*7}} ${7*7} %s %n", "../../etc/passwd"]
)
async def test_12_payloads_are_texts_like_any_other(
    house: GivingHouse, door: httpx2.AsyncClient, campaign: Campaign, payload: str
) -> None:
    answer = await door.post(DONATIONS, json=gift(campaign, donor_name=payload, message=payload))
    assert answer.status_code == 201
    given = answer.json()
    shown = await house.hot.get(f"{DONATIONS}/{given['id']}", headers={"X-Receipt-Token": given["receipt_token"]})
    assert (shown.json()["donor_name"], shown.json()["message"]) == (payload, payload)


# 13


@pytest.mark.parametrize("campaign_id", ["", "1", "x" * 36, "../x", 7, None.__class__.__name__, [], {}])
async def test_13_a_malformed_campaign_id(refused: Refused, campaign: Campaign, campaign_id: Any) -> None:
    await refused.field(gift(campaign, campaign_id=campaign_id), "/campaign_id")


async def test_13_a_foreign_or_nil_campaign_id(refused: Refused, campaign: Campaign) -> None:
    for campaign_id in (str(new_id()), str(NIL)):
        await refused.raw(json.dumps(gift(campaign, campaign_id=campaign_id)).encode(), 404, "campaign_not_found")


async def test_13_an_upper_case_campaign_id_is_the_same_campaign(door: httpx2.AsyncClient, campaign: Campaign) -> None:
    answer = await door.post(DONATIONS, json=gift(campaign, campaign_id=campaign["id"].upper()))
    assert (answer.status_code, answer.json()["campaign_id"]) == (201, campaign["id"])


# 14


@pytest.mark.parametrize(
    "field", ["status", "id", "is_admin", "tenant_id", "user_id", "refunded_amount", "intent_id", "__proto__"]
)
async def test_14_extra_fields(refused: Refused, campaign: Campaign, field: str) -> None:
    await refused.field(gift(campaign, **{field: "x"}), f"/{field}", "unknown_field")


@pytest.mark.parametrize("gateway", ["Stripe", "", "x", "a" * 21, "stripe; --", 7, "stripe\n"])
async def test_14_a_gateway_that_is_none(refused: Refused, campaign: Campaign, gateway: Any) -> None:
    await refused.field(gift(campaign, gateway=gateway), "/gateway")


@pytest.mark.parametrize("value", ["true", 1, 0, "", []])
async def test_14_a_flag_of_another_type(refused: Refused, campaign: Campaign, value: Any) -> None:
    await refused.field(gift(campaign, anonymous=value), "/anonymous")


@pytest.mark.parametrize("extra", [[], "x", 7, {str(number): 1 for number in range(51)}])
async def test_14_extra_data_of_another_shape(refused: Refused, campaign: Campaign, extra: Any) -> None:
    await refused.field(gift(campaign, extra_data=extra), "/extra_data")


async def test_14_extra_data_beyond_its_limit(refused: Refused, campaign: Campaign) -> None:
    await refused.field(gift(campaign, extra_data={"a": "x" * 9000}), "/extra_data", "too_long")


@pytest.mark.parametrize("number", ["1e400", "1" * 400, "-1e-400"])
async def test_14_numbers_in_extra_data_that_the_database_cannot_take_are_no_5xx(
    house: GivingHouse, door: httpx2.AsyncClient, campaign: Campaign, number: str
) -> None:
    body = json.dumps(gift(campaign, extra_data={"n": 0})).replace('"n": 0', f'"n": {number}')
    answer = await door.post(DONATIONS, content=body.encode(), headers=JSON)
    assert answer.status_code in {201, 422}
    if answer.status_code == 201:
        given = answer.json()
        shown = await house.hot.get(f"{DONATIONS}/{given['id']}", headers={"X-Receipt-Token": given["receipt_token"]})
        assert shown.status_code == 200


# 17


@pytest.mark.parametrize("key", ["", "k" * 256, "k" * 8000])
async def test_17_an_empty_or_endless_idempotency_key(refused: Refused, campaign: Campaign, key: str) -> None:
    await refused.raw(json.dumps(gift(campaign)).encode(), 422, "invalid_value", headers={"Idempotency-Key": key})


async def test_17_an_idempotency_key_that_is_not_ascii(refused: Refused, campaign: Campaign) -> None:
    await refused.raw(
        json.dumps(gift(campaign)).encode(), 422, "invalid_value", headers={b"Idempotency-Key": "schlüssel".encode()}
    )


async def test_17_a_key_replays_the_bytes_of_the_first_answer_through_either_door(house: GivingHouse, campaign: Campaign) -> None:
    headers, body = {"Idempotency-Key": str(new_id())}, gift(campaign)
    answers = [await door.post(DONATIONS, json=body, headers=headers) for door in (house.hot, house.cold, house.hot)]
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    assert [answer.headers.get("idempotent-replayed") for answer in answers] == [None, "true", "true"]


async def test_17_a_key_with_another_body(refused: Refused, house: GivingHouse, campaign: Campaign) -> None:
    headers = {"Idempotency-Key": str(new_id())}
    await house.give(campaign, headers=headers)
    await refused.raw(json.dumps(gift(campaign, amount="26.00")).encode(), 422, "idempotency_key_reused", headers=headers)


async def test_17_a_key_of_another_donor_is_another_key(house: GivingHouse, door: httpx2.AsyncClient, campaign: Campaign) -> None:
    headers = {"Idempotency-Key": str(new_id())}
    first = await house.give(campaign, headers=headers)
    second = await door.post(DONATIONS, json=gift(campaign, donor_email="donor2@example.org"), headers=headers)
    third = await door.post(DONATIONS, json=gift(campaign), headers={**headers, **house.callers.user()})
    assert len({first["id"], second.json()["id"], third.json()["id"]}) == 3


async def test_17_parallel_requests_under_one_key_are_one_gift(house: GivingHouse, campaign: Campaign) -> None:
    headers, body = {"Idempotency-Key": str(new_id())}, gift(campaign)
    before = await house.stored()
    sent = [door.post(DONATIONS, json=body, headers=headers) for door in (house.hot, house.cold) * 8]
    answers = await asyncio.gather(*sent)
    assert {(answer.status_code, answer.content) for answer in answers} == {(201, answers[0].content)}
    after = await house.stored()
    assert {table: after[table] - before[table] for table in before} == dict.fromkeys(before, 1)


async def test_17_a_refused_request_frees_its_key(door: httpx2.AsyncClient, campaign: Campaign) -> None:
    headers = {"Idempotency-Key": str(new_id())}
    assert (await door.post(DONATIONS, json=gift(campaign, campaign_id=str(new_id())), headers=headers)).status_code == 404
    assert (await door.post(DONATIONS, json=gift(campaign), headers=headers)).status_code == 201


# 18


@pytest.mark.parametrize("authorization", ["Bearer nonsense", "Bearer", "Basic dXNlcjpwYXNz", "Bearer a.b.c"])
async def test_18_a_token_that_does_not_hold_is_no_guest(refused: Refused, campaign: Campaign, authorization: str) -> None:
    await refused.raw(json.dumps(gift(campaign)).encode(), 401, "invalid_token", headers={"Authorization": authorization})


async def test_18_an_unsigned_token(refused: Refused, house: GivingHouse, campaign: Campaign) -> None:
    token = house.callers.token().rpartition(".")[0] + "."
    await refused.raw(json.dumps(gift(campaign)).encode(), 401, "invalid_token", headers={"Authorization": f"Bearer {token}"})


# 22


async def test_22_a_campaign_that_closed_meanwhile(refused: Refused, house: GivingHouse) -> None:
    closing = await house.campaign()
    await house.give(closing)
    for status in ("PAUSED", "ENDED"):
        changed = await house.hot.patch(
            f"/api/v1/campaigns/{closing['id']}", json={"status": status}, headers=house.callers.admin()
        )
        assert changed.status_code == 200
        await refused.raw(json.dumps(gift(closing)).encode(), 409, "campaign_not_open")


@pytest.mark.parametrize(
    "changes", [{"status": "DRAFT"}, {"starts_at": "2999-01-01T00:00:00Z"}, {"ends_at": "2001-01-01T00:00:00Z"}], ids=str
)
async def test_22_a_campaign_that_is_not_open(refused: Refused, house: GivingHouse, changes: dict[str, str]) -> None:
    closed = await house.campaign(**changes)
    await refused.raw(json.dumps(gift(closed)).encode(), 409, "campaign_not_open")


# 24


@pytest.mark.parametrize("field", ["message", "donor_name"])
async def test_24_a_card_number_in_a_text_is_refused_and_never_logged(
    refused: Refused, house: GivingHouse, campaign: Campaign, field: str
) -> None:
    await refused.field(gift(campaign, **{field: f"my card: {PAN}"}), f"/{field}", "card_number")
    assert not any(PAN in process.log_text() for process in house.running.processes)


async def test_after_all_of_this_no_answer_was_a_5xx_and_no_person_is_in_the_log(house: GivingHouse) -> None:
    for door in (house.hot, house.cold):
        metrics = (await door.get("/metrics")).text
        assert not [line for line in metrics.splitlines() if "http_requests_total" in line and 'status="5' in line]
    logs = "".join(process.log_text() for process in house.running.processes)
    assert "example.org" not in logs
    assert house.running.environment["CAREFORALL_SECRET_KEY"] not in logs


def _with_amount(campaign: Campaign, number: str) -> bytes:
    return json.dumps(gift(campaign, amount=0)).replace('"amount": 0', f'"amount": {number}').encode()
