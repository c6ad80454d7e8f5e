"""The one table of gateways: each that is set up is asked, tells, and has its kept events read again."""

from __future__ import annotations

import pytest

from careforall.donations.settings import DonationsSettings
from careforall.kit.settings import Settings, SettingsError, load
from careforall.orders.settings import OrdersSettings
from careforall.payments.app import companies, notes
from careforall.payments.gateways.translators import READERS
from careforall.payments.settings import PaymentsSettings

BASE = {
    "CAREFORALL_POSTGRES_URL": "postgresql://127.0.0.1/x",
    "CAREFORALL_SECRET_KEY": "s" * 32,
    "CAREFORALL_ENVIRONMENT": "development",
}
STRIPE = {"CAREFORALL_STRIPE_SECRET_KEY": "sk_test_1", "CAREFORALL_STRIPE_WEBHOOK_SECRETS": "whsec_one"}
PAYPAL = {
    "CAREFORALL_PAYPAL_CLIENT_ID": "id",
    "CAREFORALL_PAYPAL_CLIENT_SECRET": "secret",
    "CAREFORALL_PAYPAL_WEBHOOK_IDS": "one",
}


async def test_what_is_set_up_is_there_under_its_own_name() -> None:
    assert await names() == {"generic", "simulator"}
    assert await names(**STRIPE) == {"generic", "simulator", "stripe"}
    assert await names(**PAYPAL) == {"generic", "simulator", "paypal"}


async def test_production_has_no_company_whose_money_is_made_up() -> None:
    live = {**STRIPE, "CAREFORALL_ENVIRONMENT": "production", "CAREFORALL_STRIPE_SECRET_KEY": "sk_live_1"}
    assert await names(**live) == {"generic", "stripe"}
    with pytest.raises(SettingsError, match="CAREFORALL_GATEWAY_ORDER names simulator"):
        await names(**live, CAREFORALL_GATEWAY_ORDER="stripe, simulator")


def test_health_tells_where_whoever_names_no_gateway_cannot_pay() -> None:
    def told(**values: str) -> dict[str, str]:
        return notes(load(PaymentsSettings, {**BASE, **values}, service="payments"))

    assert "cannot be paid" in told(CAREFORALL_ENVIRONMENT="production")["simulator"]
    live = {**STRIPE, "CAREFORALL_ENVIRONMENT": "production", "CAREFORALL_STRIPE_SECRET_KEY": "sk_live_1"}
    assert told(**live)["simulator"]
    for name in ("generic", "stripe"):
        assert told(**live, CAREFORALL_DEFAULT_GATEWAY=name) == {}
    assert told() == {}


@pytest.mark.parametrize("kind", [DonationsSettings, OrdersSettings, PaymentsSettings])
def test_a_gateway_nobody_has_is_refused_at_start(kind: type[Settings]) -> None:
    with pytest.raises(SettingsError, match="CAREFORALL_DEFAULT_GATEWAY"):
        load(kind, {**BASE, "CAREFORALL_DEFAULT_GATEWAY": "strpie"}, service="payments")


async def test_kept_events_of_every_gateway_can_be_read_again() -> None:
    assert await names(**STRIPE, **PAYPAL) == set(READERS)


async def names(**variables: str) -> set[str]:
    found = companies(load(PaymentsSettings, {**BASE, **variables}, service="payments"))
    for name, company in found.items():
        assert company.gateway.name == name
        await company.gateway.close()
    return set(found)
