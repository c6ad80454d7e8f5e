"""Settings of PayPal that cannot be meant are refused at start, naming the variable."""

from __future__ import annotations

import pytest

from careforall.kit.settings import SettingsError, load
from careforall.payments.settings import PaymentsSettings

BASE = {"CAREFORALL_POSTGRES_URL": "postgres://127.0.0.1/x", "CAREFORALL_SECRET_KEY": "k" * 32}
SANDBOX = {"PAYPAL_CLIENT_ID": "id", "PAYPAL_CLIENT_SECRET": "secret", "PAYPAL_WEBHOOK_IDS": "one, two"}
LIVE = {**SANDBOX, "PAYPAL_LIVE": "true"}
DEVELOPMENT = {"ENVIRONMENT": "development"}


def loaded(**values: str) -> PaymentsSettings:
    named = {f"CAREFORALL_{name}": value for name, value in values.items()}
    return load(PaymentsSettings, {**BASE, **named}, service="payments")


def test_the_base_follows_from_what_is_moved() -> None:
    assert loaded(**SANDBOX, **DEVELOPMENT).paypal_url == "https://api-m.sandbox.paypal.com"
    assert loaded(**LIVE).paypal_url == "https://api-m.paypal.com"
    assert loaded(**LIVE, PAYPAL_BASE="https://api-m.paypal.com/").paypal_url == "https://api-m.paypal.com"
    assert loaded(**SANDBOX, **DEVELOPMENT, PAYPAL_BASE="http://127.0.0.1:9/").paypal_url == "http://127.0.0.1:9"
    assert not loaded().paypal_client_id


@pytest.mark.parametrize(
    ("values", "variable"),
    [
        ({**SANDBOX, "PAYPAL_CLIENT_SECRET": ""}, "paypal_client_secret"),
        ({**SANDBOX, "PAYPAL_CLIENT_ID": ""}, "paypal_client_id"),
        ({**SANDBOX, "PAYPAL_WEBHOOK_IDS": " , "}, "paypal_webhook_ids"),
        ({**SANDBOX, "PAYPAL_WEBHOOK_IDS": "1,2,3"}, "paypal_webhook_ids"),
        ({"PAYPAL_WEBHOOK_IDS": "1"}, "paypal_client_id"),
        ({"PAYPAL_LIVE": "true"}, "paypal_live"),
        ({"DEFAULT_GATEWAY": "paypal"}, "default_gateway"),
        ({**LIVE, **DEVELOPMENT}, "paypal_live"),
        (SANDBOX, "paypal_live is not set"),
        ({**LIVE, "PAYPAL_BASE": "https://api-m.sandbox.paypal.com"}, "paypal_base"),
        ({**LIVE, "PAYPAL_BASE": "http://127.0.0.1:9"}, "paypal_base"),
        ({**SANDBOX, "PAYPAL_BASE": "https://api-m.paypal.com"}, "paypal_base"),
        ({**SANDBOX, "PAYPAL_BASE": "https://API.PayPal.com"}, "paypal_base"),
        ({**SANDBOX, "PAYPAL_BASE": "http://api-m.sandbox.paypal.com"}, "paypal_base"),
        ({**SANDBOX, "PAYPAL_BASE": "http://10.0.0.1"}, "paypal_base"),
        ({**LIVE, "PAYPAL_CERTIFICATE_HOST": "127.0.0.1:8443"}, "paypal_certificate_host"),
        ({**SANDBOX, "PAYPAL_CERTIFICATE_HOST": "evil.example:443"}, "paypal_certificate_host"),
        ({**SANDBOX, "PAYPAL_CERTIFICATE_HOST": "127.0.0.1"}, "paypal_certificate_host"),
    ],
)
def test_nonsense_is_refused_naming_the_variable(values: dict[str, str], variable: str) -> None:
    with pytest.raises(SettingsError, match=variable) as refused:
        loaded(**values)
    assert "secret" not in str(refused.value).replace("paypal_client_secret", "")
