"""What may leave the platform: of every event exactly the listed fields, and nothing of a person, a secret or a key to a page."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from careforall.audit.domain import PERSONAL, SECRET
from careforall.contracts import public
from careforall.kit.envelope import Event
from careforall_testing import reading

GOLDEN = Path(__file__).with_name("golden")
INSIDE = {
    *PERSONAL,
    *SECRET,
    *("donor_key", "user_id", "author_id", "seller_id", "cart_id", "saga_id", "intent_id", "holder_id"),
    *("reason", "tracking", "gateway_transaction_id", "url", "correlation_id", "origin"),
}
"""Fields that say who somebody is, open something, or hold what people write about a case."""
SHOP_NAMES = {"catalog.product_created", "catalog.product_updated", "catalog.product_removed"}
LEAVING = {
    "campaigns": "campaign_id currency ends_at goal starts_at status title",
    "donations": "amount campaign_id currency disputed_amount donation_id refunded_amount status",
    "orders": "currency lines lines.name lines.product_id lines.quantity lines.sku lines.status lines.total lines.unit_price "
    "order_id order_number refunded_amount status total",
    "catalog": "attributes attributes.key base_price brand category category_path created_at currency description image_url name "
    "product_id rating_average rating_count sale_price shippable slug status variants variants.active variants.attributes "
    "variants.attributes.key variants.price_difference variants.sku variants.variant_id",
    "customer": "customer_id",
}
MORE = {
    "donations.created": "campaign_title created_at",
    "donations.completed": "campaign_title completed_at",
    "donations.failed": "campaign_title",
    "donations.refunded": "campaign_title refunded_at",
    "donations.disputed": "disputed_at",
    "orders.created": "created_at",
    "orders.confirmed": "confirmed_at",
    "inventory.stock_changed": "available on_hand reserved sku",
    "inventory.low_stock": "available sku threshold warehouse",
}
"""Written out a second time on purpose: whoever lets more out has to say so here."""


def names(value: Any, above: str = "") -> set[str]:
    """All field names in a value, with those above them."""
    if isinstance(value, dict):
        return {path for key, inner in value.items() for path in ({above + key} | names(inner, f"{above}{key}."))}
    return {path for inner in value for path in names(inner, above)} if isinstance(value, list) else set()


def golden(subject: str) -> dict[str, Any]:
    """An event of the release with all its fields."""
    found: dict[str, Any] = json.loads((GOLDEN / f"{subject}.v1.json").read_bytes())
    return found


def leaving(subject: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(public.shown(subject, msgspec.json.encode(golden(subject)["payload"])))
    return found


@pytest.mark.parametrize("subject", sorted(public.SUBJECTS))
def test_exactly_the_listed_fields_leave(subject: str) -> None:
    wanted = f"{LEAVING.get(subject.partition('.')[0], '')} {MORE.get(subject, '')}"
    assert names(leaving(subject)) == set(wanted.split())


@pytest.mark.parametrize("subject", sorted(public.SUBJECTS))
def test_nothing_of_a_person_and_nothing_that_opens_something_leaves(subject: str) -> None:
    allowed = {"name"} if subject in SHOP_NAMES else {"lines.name"}
    found = {path for path in names(leaving(subject)) if path.rpartition(".")[2] in INSIDE}
    assert found <= allowed


@pytest.mark.parametrize("subject", sorted(public.SUBJECTS))
def test_fields_of_tomorrow_stay_inside(subject: str) -> None:
    payload = golden(subject)["payload"] | {"card_of_tomorrow": "4111", "email": "x@example.org"}
    assert b"tomorrow" not in public.shown(subject, msgspec.json.encode(payload))
    assert b"example.org" not in public.shown(subject, msgspec.json.encode(payload))


@pytest.mark.parametrize(("currency", "written"), [("EUR", "12.50"), ("JPY", "12"), ("KWD", "12.500")])
def test_amounts_leave_with_the_places_of_their_currency(currency: str, written: str) -> None:
    for kept in (written, f"{Decimal(written):.3f}"):  # a new gift's, and what the tables give back
        money = {"amount": kept, "refunded_amount": kept, "disputed_amount": kept}
        payload = golden("donations.completed")["payload"] | money | {"currency": currency}
        told = json.loads(public.shown("donations.completed", msgspec.json.encode(payload)))
        assert {told[name] for name in money} == {written}


def test_amounts_of_lines_leave_as_those_of_their_order() -> None:
    payload = golden("orders.confirmed")["payload"] | {"currency": "EUR", "refunded_amount": "0"}
    payload["lines"][0] |= {"unit_price": "40.900", "total": "122.700"}
    told = json.loads(public.shown("orders.confirmed", msgspec.json.encode(payload)))
    line = told["lines"][0]
    assert (told["refunded_amount"], line["unit_price"], line["total"]) == ("0.00", "40.90", "122.70")


def _kept_back() -> list[type[Event]]:
    return [event for event in reading.events() if event not in public.PUBLIC]


@pytest.mark.parametrize("event", _kept_back(), ids=lambda event: event.SUBJECT)
def test_other_events_cannot_be_shown(event: type[Event]) -> None:
    with pytest.raises(KeyError):
        public.shown(event.SUBJECT, b"{}")


def test_nothing_of_accounts_payments_and_snapshots_is_public() -> None:
    kept = {event.SUBJECT for event in _kept_back()}
    assert {one for one in kept if one.startswith(("accounts.", "payments.", "pricing."))}
    assert not [one for one in public.SUBJECTS if one.startswith(("accounts.", "payments.", "pricing.", "checkout."))]
    assert not [one for one in public.SUBJECTS if one.endswith("snapshot")]
