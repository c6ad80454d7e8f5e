"""When a process with Stripe may start at all, and what one without it does not pay for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from careforall.kit.settings import SettingsError, load
from careforall.payments.settings import PaymentsSettings

BASE = {"CAREFORALL_POSTGRES_URL": "postgresql://127.0.0.1/x", "CAREFORALL_SECRET_KEY": "s" * 32}
SECRET = {"CAREFORALL_STRIPE_WEBHOOK_SECRETS": "whsec_one, whsec_two"}


def settings(environment: str, **variables: str) -> PaymentsSettings:
    named = {f"CAREFORALL_{name.upper()}": value for name, value in variables.items()}
    return load(PaymentsSettings, {**BASE, "CAREFORALL_ENVIRONMENT": environment, **named}, service="payments")


@pytest.mark.parametrize(
    ("environment", "key", "livemode"),
    [
        ("development", "sk_test_1", False),
        ("development", "rk_test_1", False),
        ("production", "sk_live_1", True),
        ("production", "rk_live_1", True),
    ],
)
def test_a_key_of_the_right_mode_is_taken(environment: str, key: str, livemode: bool) -> None:
    found = settings(environment, stripe_secret_key=key, stripe_webhook_secrets="whsec_one")
    assert found.stripe_livemode is livemode


@pytest.mark.parametrize(
    ("environment", "variables", "named"),
    [
        ("development", {"stripe_secret_key": "sk_live_1"}, "CAREFORALL_STRIPE_SECRET_KEY is a live key"),
        ("development", {"stripe_secret_key": "rk_live_1"}, "CAREFORALL_STRIPE_SECRET_KEY is a live key"),
        ("production", {"stripe_secret_key": "sk_test_1"}, "CAREFORALL_STRIPE_SECRET_KEY is a test key"),
        ("production", {"stripe_secret_key": "rk_test_1"}, "CAREFORALL_STRIPE_SECRET_KEY is a test key"),
        ("development", {"stripe_secret_key": "pk_test_1"}, "CAREFORALL_STRIPE_SECRET_KEY is no secret key"),
        ("production", {"stripe_secret_key": "changeme"}, "CAREFORALL_STRIPE_SECRET_KEY is no secret key"),
        ("development", {"stripe_secret_key": "sk_test_1", "stripe_webhook_secrets": " , "}, "STRIPE_WEBHOOK_SECRETS belong"),
        ("development", {"stripe_secret_key": ""}, "CAREFORALL_STRIPE_SECRET_KEY and"),
        ("production", {"stripe_webhook_secrets": "", "default_gateway": "stripe"}, "CAREFORALL_DEFAULT_GATEWAY is stripe"),
        ("production", {"stripe_secret_key": "sk_live_1", "stripe_base": "http://127.0.0.1:1"}, "CAREFORALL_STRIPE_BASE"),
    ],
)
def test_what_must_not_start_says_which_variable_is_wrong(environment: str, variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError) as refused:
        settings(environment, **{"stripe_webhook_secrets": "whsec_one", **variables})
    assert named in str(refused.value)
    assert not any(value in str(refused.value) for value in ("sk_live_1", "sk_test_1", "whsec_one", "changeme"))


def test_without_stripe_its_library_is_not_even_imported() -> None:
    code = "import sys, careforall.payments.app; sys.exit('stripe' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
