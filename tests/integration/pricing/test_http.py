"""Pricing through its processes: quotes from what the catalog said, staff's coupons and rules, the limit across processes."""

from __future__ import annotations

import asyncio
import secrets
from decimal import Decimal
from typing import Any

import msgspec
import nats
import pytest

from careforall.contracts.catalog import ProductRemoved, Variant
from careforall.contracts.pricing import LOCK, Quote
from careforall.kit import json
from careforall.kit.ids import new_id
from careforall_testing.databases import connection
from careforall_testing.platform import client_of
from careforall_testing.polling import eventually
from careforall_testing.pricing import PricingHouse, lock, product, violations

QUOTE = "/api/v1/pricing/quote"
COUPONS = "/api/v1/admin/coupons"
PROMOTIONS = "/api/v1/admin/promotions"
TAXES = "/api/v1/admin/tax-rates"
SHIPPING = "/api/v1/admin/shipping-rates"


def fresh(word: str) -> str:
    return f"{word}-{secrets.token_hex(4)}".upper()


async def quoted(house: PricingHouse, sku: str, **changes: Any) -> dict[str, Any]:
    answer = await house.client.post(QUOTE, json={"items": [{"sku": sku, "quantity": 2}]} | changes)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_quote_follows_the_catalog_and_the_stock_newer_versions_only(house: PricingHouse) -> None:
    sku, admin = fresh("cup"), house.callers.admin()
    one = product(sku, "10.00", variants=(Variant(variant_id=new_id(), sku=sku, price_difference=Decimal(2)),))
    await house.publish(one, one.product_id, 2)
    await house.publish(msgspec.structs.replace(one, base_price=Decimal(99)), one.product_id, 1)

    async def total() -> Any:
        return (await quoted(house, sku))["total"]

    async def is_(wanted: str) -> None:
        async def seen() -> bool:
            return bool(await total() == wanted)

        await eventually(seen, what=f"a total of {wanted}")

    await is_("24.00")
    rule = {"name": sku, "type": "STOCK_LEVEL", "percent": "50", "conditions": {"stock_below": 5, "skus": [sku]}}
    made = await house.client.post(PROMOTIONS, json=rule, headers=admin)
    assert made.status_code == 201, made.text
    await house.stock(sku, 4, 2)
    await is_("36.00")
    await house.stock(sku, 9, 1)
    gone = ProductRemoved(**msgspec.structs.asdict(msgspec.structs.replace(one, status="INACTIVE")))
    await house.publish(gone, one.product_id, 3)

    async def refused() -> list[Any]:
        found: list[Any] = (await quoted(house, sku))["refused"]
        return found

    assert await eventually(refused) == [{"code": "inactive", "subject": sku}]


async def test_members_prices_taxes_and_shipping_in_one_quote(house: PricingHouse) -> None:
    sku, admin = fresh("tea"), house.callers.admin()
    await house.sell(sku, "10.00")
    rules: list[tuple[str, dict[str, Any]]] = [
        (PROMOTIONS, {"name": sku, "type": "MEMBER", "percent": "-10", "conditions": {"skus": [sku]}}),
        (TAXES, {"country": "AT", "percent": "20", "inclusive": True}),
        (SHIPPING, {"name": "Post", "country": "AT", "currency": "EUR", "amount": "4.90", "free_above": "50"}),
    ]
    for path, rule in rules:
        assert (await house.client.post(path, json=rule, headers=admin)).status_code == 201
    await eventually(lambda: _known(house, sku))
    body = {"items": [{"sku": sku, "quantity": 2}], "country": "AT"}
    found = (await house.client.post(QUOTE, json=body, headers=house.callers.user())).json()
    assert {name: found[name] for name in ("subtotal", "discount", "shipping", "tax", "tax_included", "total")} == {
        "subtotal": "20.00",
        "discount": "2.00",
        "shipping": "4.90",
        "tax": "3.00",
        "tax_included": True,
        "total": "22.90",
    }
    guest = (await house.client.post(QUOTE, json=body)).json()
    assert (guest["total"], guest["discount"], guest["items"][0]["discount"]) == ("24.90", "0.00", "0.00")
    again = await house.client.post(TAXES, json={"country": "AT", "percent": "10", "category": "books"}, headers=admin)
    assert (again.status_code, again.json()["code"]) == (409, "tax_mode_conflict")
    same = await house.client.post(TAXES, json={"country": "AT", "percent": "7", "inclusive": True}, headers=admin)
    assert (same.status_code, same.json()["code"]) == (409, "rate_place_taken")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "promotions",
            {"name": "Once", "type": "STOCK_LEVEL", "percent": "5", "conditions": {"stock_below": 1, "skus": ["NONE"]}},
        ),
        ("tax-rates", {"country": "NO", "percent": "25", "inclusive": True}),
        ("shipping-rates", {"name": "Once", "country": "NO", "currency": "NOK", "amount": "90.00"}),
    ],
)
async def test_a_rule_that_is_made_twice_under_a_key_is_one(house: PricingHouse, path: str, body: dict[str, Any]) -> None:
    url, keyed = f"/api/v1/admin/{path}", house.callers.admin() | {"Idempotency-Key": fresh("rule")}
    made = await house.client.post(url, json=body, headers=keyed)
    again = await house.client.post(url, json=body, headers=keyed)
    assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
    assert (again.status_code, again.content, again.headers["idempotent-replayed"]) == (201, made.content, "true")
    await house.client.delete(f"{url}/{made.json()['id']}", headers=house.callers.admin())


async def _known(house: PricingHouse, sku: str) -> bool:
    return not (await quoted(house, sku))["refused"]


async def test_a_coupon_s_life(house: PricingHouse) -> None:
    admin, code = house.callers.admin(), fresh("life")
    keyed = admin | {"Idempotency-Key": code}
    body = {"code": code.lower(), "amount": "5", "currency": "EUR", "total_limit": 3}
    made = await house.client.post(COUPONS, json=body, headers=keyed)
    again = await house.client.post(COUPONS, json=body, headers=keyed)
    assert (made.status_code, made.json()["code"], made.json()["amount"]) == (201, code, "5.00")
    assert (again.content, again.headers["idempotent-replayed"]) == (made.content, "true")
    taken = await house.client.post(COUPONS, json=body, headers=admin)
    assert (taken.status_code, taken.json()["code"]) == (409, "coupon_code_taken")
    path = f"{COUPONS}/{made.json()['id']}"
    changed = await house.client.patch(path, json={"total_limit": 5}, headers=admin | {"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["total_limit"], changed.headers["etag"]) == (200, 5, '"2"')
    stale = await house.client.patch(path, json={"total_limit": 9, "version": 1}, headers=admin)
    assert (stale.status_code, stale.json()["current_version"]) == (409, 2)
    listed = await house.client.get(COUPONS, params={"code": code, "status": "ACTIVE"}, headers=admin)
    assert [one["version"] for one in listed.json()["items"]] == [2]
    assert (await house.client.delete(path, headers=admin)).status_code == 204
    assert (await house.client.get(path, headers=admin)).json()["active"] is False
    assert (await house.client.get(COUPONS, params={"code": code, "status": "ACTIVE"}, headers=admin)).json()["items"] == []
    async with house.running.database("pricing") as database:
        told = await database.fetchval("SELECT count(*) FROM outbox WHERE aggregate_id = $1::text::uuid", made.json()["id"])
    assert told == 3, "made, changed, ended"


@pytest.mark.parametrize("name", ["starts_at", "ends_at"])
@pytest.mark.parametrize(
    ("moment", "code"),
    [
        ("0001-01-01T00:00:00+14:00", "out_of_range"),
        ("9999-12-31T23:59:59-14:00", "out_of_range"),
        ("2027-01-31T12:00:00", "zone_required"),
    ],
)
async def test_a_coupon_of_no_moment_is_refused_and_the_others_are_still_listed(
    house: PricingHouse, name: str, moment: str, code: str
) -> None:
    admin = house.callers.admin()
    answer = await house.client.post(COUPONS, json={"code": fresh("when"), "percent": "10", name: moment}, headers=admin)
    assert answer.status_code == 422, answer.text
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(f"/{name}", code)]
    assert (await house.client.get(COUPONS, headers=admin)).status_code == 200


async def test_a_coupon_s_times_are_told_in_utc(house: PricingHouse) -> None:
    admin, body = house.callers.admin(), {"code": fresh("utc"), "percent": "10", "starts_at": "2027-01-01T02:00:00+02:00"}
    made = await house.client.post(COUPONS, json=body, headers=admin)
    read = await house.client.get(f"{COUPONS}/{made.json()['id']}", headers=admin)
    assert made.json()["starts_at"] == read.json()["starts_at"] == "2027-01-01T00:00:00Z"


async def test_a_limit_cannot_fall_below_what_is_used(house: PricingHouse) -> None:
    admin, code, sku = house.callers.admin(), fresh("floor"), fresh("cup")
    await house.sell(sku)
    await eventually(lambda: _known(house, sku))
    made = (await house.client.post(COUPONS, json={"code": code, "percent": "10", "total_limit": 9}, headers=admin)).json()
    await asked_of(house, *(lock((sku, 1), coupons=[code]) for _ in range(2)))
    answer = await house.client.patch(f"{COUPONS}/{made['id']}", json={"total_limit": 1}, headers=admin)
    assert (answer.status_code, answer.json()["code"], answer.json()["held"]) == (409, "limit_below_use", 2)


async def asked_of(house: PricingHouse, *locks: Any) -> list[Quote]:
    """Ask over the broker, where both processes answer."""
    client = await nats.connect(house.running.environment["CAREFORALL_NATS_URL"])
    try:
        subject = f"{LOCK}.{house.running.instance}"
        answers = await asyncio.gather(*(client.request(subject, json.encode(one), timeout=20) for one in locks))
        return [msgspec.json.decode(answer.data, type=Quote) for answer in answers]
    finally:
        await client.close()


async def test_two_processes_share_one_limit(house: PricingHouse) -> None:
    code, sku = fresh("pair"), fresh("cup")
    await house.sell(sku)
    await eventually(lambda: _known(house, sku))
    body = {"code": code, "percent": "10", "total_limit": 25}
    assert (await house.client.post(COUPONS, json=body, headers=house.callers.admin())).status_code == 201
    quotes = await asked_of(house, *(lock((sku, 1), coupons=[code]) for _ in range(100)))
    assert sum(1 for quote in quotes if quote.discount) == 25
    async with connection(house.running.databases["pricing"]) as opened:
        assert await violations(opened) == []


@pytest.mark.parametrize("path", [COUPONS, PROMOTIONS, TAXES, SHIPPING])
async def test_rules_are_for_staff_and_unknown_ids_are_404(house: PricingHouse, path: str) -> None:
    assert (await house.client.get(path)).status_code == 401
    assert (await house.client.get(path, headers=house.callers.user())).status_code == 403
    for identifier in (str(new_id()), "1", "%00"):
        answer = await house.client.get(f"{path}/{identifier}", headers=house.callers.admin())
        assert answer.status_code == 404, answer.text
        gone = await house.client.delete(f"{path}/{identifier}", headers=house.callers.admin())
        assert gone.status_code == 404, gone.text


async def test_rules_are_replaced_by_version_and_deleted(house: PricingHouse) -> None:
    admin, client = house.callers.admin(), house.client
    for path, body in (
        (PROMOTIONS, {"name": fresh("rule"), "type": "SALE", "percent": "-5", "conditions": {"skus": ["none"]}}),
        (TAXES, {"country": "PT", "percent": "23"}),
        (SHIPPING, {"name": "Post", "country": "PT", "currency": "EUR", "steps": [{"from_value": "0", "amount": "4"}]}),
    ):
        made = (await client.post(path, json=body, headers=admin)).json()
        one = f"{path}/{made['id']}"
        put = await client.put(one, json=body | {"version": 1}, headers=admin)
        assert (put.status_code, put.json()["version"]) == (200, 2), put.text
        stale = await client.put(one, json=body, headers=admin | {"If-Match": '"1"'})
        assert (stale.status_code, stale.json()["code"]) == (409, "version_conflict")
        assert made["id"] in {item["id"] for item in (await client.get(path, headers=admin)).json()["items"]}
        assert (await client.delete(one, headers=admin)).status_code == 204
        assert (await client.get(one, headers=admin)).status_code == 404


LATER, SOONER = "2027-02-01T00:00:00Z", "2027-01-01T00:00:00Z"
SALE = {"name": "x", "type": "SALE", "percent": "-5"}


@pytest.mark.parametrize(
    ("path", "body", "pointer"),
    [
        (COUPONS, {"code": "x y", "percent": "5"}, "/code"),
        (COUPONS, {"code": "NUL\0", "percent": "5"}, "/code"),
        (COUPONS, {"code": "NONE"}, "/percent"),
        (COUPONS, {"code": "BOTH", "percent": "5", "amount": "5", "currency": "EUR"}, "/percent"),
        (COUPONS, {"code": "HIGH", "percent": "100.01"}, "/percent"),
        (COUPONS, {"code": "FINE", "percent": "1.23456"}, "/percent"),
        (COUPONS, {"code": "NAN", "percent": "NaN"}, "/percent"),
        (COUPONS, {"code": "CENTS", "amount": "0.001", "currency": "EUR"}, "/amount"),
        (COUPONS, {"code": "BARE", "amount": "5"}, "/currency"),
        (COUPONS, {"code": "WORLD", "amount": "5", "currency": "XXQ"}, "/currency"),
        (SHIPPING, {"name": "Post", "country": "AT", "currency": "XAU", "amount": "0"}, "/currency"),
        (COUPONS, {"code": "LIMIT", "percent": "5", "total_limit": 0}, "/total_limit"),
        (
            COUPONS,
            {"code": "BACK", "percent": "5", "starts_at": "2027-02-01T00:00:00Z", "ends_at": "2027-01-01T00:00:00Z"},
            "/ends_at",
        ),
        (COUPONS, {"code": "ZONE", "percent": "5", "starts_at": "2027-02-01T00:00:00"}, "/starts_at"),
        (COUPONS, {"code": "MORE", "percent": "5", "colour": "red"}, "/colour"),
        (PROMOTIONS, SALE | {"percent": "5"}, "/percent"),
        (PROMOTIONS, SALE | {"percent": "0"}, "/percent"),
        (PROMOTIONS, SALE | {"type": "DEMAND"}, "/conditions"),
        (PROMOTIONS, SALE | {"conditions": {"weekdays": [8]}}, "/conditions/weekdays"),
        (PROMOTIONS, SALE | {"conditions": {"from_time": "10:00:00"}}, "/conditions/from_time"),
        (PROMOTIONS, SALE | {"conditions": {"stock_below": -1}}, "/conditions/stock_below"),
        (PROMOTIONS, SALE | {"conditions": {"weather": "rain"}}, "/conditions/weather"),
        (PROMOTIONS, SALE | {"name": "\u202ex"}, "/name"),
        (TAXES, {"country": "Germany", "percent": "5"}, "/country"),
        (TAXES, {"country": "DE", "percent": "-1"}, "/percent"),
        (TAXES, {"country": "DE", "percent": "5", "exempt": True}, "/percent"),
        (SHIPPING, {"name": "x", "country": "DE", "currency": "EUR"}, "/steps"),
        (SHIPPING, {"name": "x", "country": "DE", "currency": "EUR", "steps": [{"from_value": "1", "amount": "1"}]}, "/steps"),
        (SHIPPING, {"name": "x", "country": "DE", "currency": "EUR", "amount": "-1"}, "/steps/0/amount"),
        (QUOTE, {"items": []}, "/items"),
        (QUOTE, {"items": [{"sku": "x", "quantity": 0}]}, "/items/0/quantity"),
        (QUOTE, {"items": [{"sku": "x", "quantity": 10**9}]}, "/items/0/quantity"),
        (QUOTE, {"items": [{"sku": "x"}] * 201}, "/items"),
        (QUOTE, {"items": [{"sku": "x"}], "country": "de"}, "/country"),
    ],
)
async def test_bad_input_is_refused_by_field_and_stores_nothing(
    house: PricingHouse, path: str, body: dict[str, Any], pointer: str
) -> None:
    async def stored() -> list[int]:
        async with connection(house.running.databases["pricing"]) as opened:
            tables = ("coupons", "promotions", "tax_rates", "shipping_rates", "outbox")
            return [await opened.fetchval(f"SELECT count(*) FROM {table}") for table in tables]

    before = await stored()
    answer = await house.client.post(path, json=body, headers=house.callers.admin())
    assert answer.status_code == 422, answer.text
    assert pointer in [error["pointer"] for error in answer.json()["errors"]], answer.text
    assert await stored() == before


@pytest.mark.parametrize("sku", ["none", "x\0y", "\u202e", "'; DROP TABLE coupons; --"])
async def test_a_quote_of_strange_skus_and_coupons_only_says_that_they_are_unknown(house: PricingHouse, sku: str) -> None:
    found = await quoted(house, sku, coupons=[sku])
    assert [one["code"] for one in found["refused"]] == ["unknown_sku"]


async def test_quotes_are_limited_by_address(house: PricingHouse) -> None:
    third = await house.running.serve(
        ["pricing"], CAREFORALL_RATE_QUOTES="3", CAREFORALL_INSTANCE=f"limit-{secrets.token_hex(4)}"
    )
    async with client_of(third.url) as client:
        answers = [await client.post(QUOTE, json={"items": [{"sku": "x"}]}) for _ in range(4)]
    await third.stop()
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
    assert answers[-1].json()["code"] == "rate_limited"
