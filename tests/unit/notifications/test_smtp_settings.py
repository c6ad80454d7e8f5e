"""Settings by which every mail would fail are refused at start, naming the variable."""

from __future__ import annotations

import pytest

from careforall.kit.settings import SettingsError, load
from careforall.notifications.settings import NotificationsSettings

BASE = {"CAREFORALL_POSTGRES_URL": "postgresql://127.0.0.1/x", "CAREFORALL_SECRET_KEY": "s" * 32}
LOGIN = {"CAREFORALL_SMTP_USERNAME": "mailer", "CAREFORALL_SMTP_PASSWORD": "hush-hush"}


def test_a_login_is_whole_or_not_there() -> None:
    assert load(NotificationsSettings, {**BASE, **LOGIN}, service="notifications").smtp_username == "mailer"
    assert not load(NotificationsSettings, BASE, service="notifications").smtp_username


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"CAREFORALL_SMTP_USERNAME": "mailer"}, "smtp_username and smtp_password"),
        ({"CAREFORALL_SMTP_PASSWORD": "hush-hush"}, "smtp_username and smtp_password"),
        ({"CAREFORALL_EMAIL_FROM": "The charity"}, "email_from"),
        ({"CAREFORALL_SMTP_PORT": "99999"}, "SMTP_PORT"),
        ({"CAREFORALL_SMTP_CONNECTIONS": "0"}, "SMTP_CONNECTIONS"),
    ],
)
def test_what_no_mail_would_go_out_with_is_refused(variables: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named) as refused:
        load(NotificationsSettings, {**BASE, **variables}, service="notifications")
    assert "hush-hush" not in str(refused.value)
