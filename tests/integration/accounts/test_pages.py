"""The pages behind mailed links: opening uses nothing up, pressing does, and nobody else learns anything."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

MAIL = "donor1@example.org"
PASSWORD = "quiet harbour lamp"
ANOTHER = "anöther & quiet+lamp = 100 % <b>"
ENDED = "This link has expired or was used"


def heading(answer: httpx2.Response) -> str:
    assert answer.headers["content-type"].startswith("text/html")
    [found] = re.findall(r"<h1>(.*?)</h1>", answer.text)
    return str(found)


async def opened(accounts: Any, path: str, token: str) -> httpx2.Response:
    answer: httpx2.Response = await accounts.client.get(path, params={"token": token})
    return answer


async def pressed(accounts: Any, path: str, **fields: str) -> httpx2.Response:
    answer: httpx2.Response = await accounts.client.post(path, data=fields)
    return answer


async def verification(accounts: Any) -> str:
    await accounts.signup()
    return str(await accounts.link_token("accounts.user_registered", "verification_url"))


async def reset(accounts: Any) -> str:
    await accounts.signup()
    await accounts.post("/auth/password/forgot", {"email": MAIL})
    return str(await accounts.link_token("accounts.password_reset_requested", "reset_url"))


@pytest.mark.parametrize(
    ("subject", "field"), [("accounts.user_registered", "verification_url"), ("accounts.password_reset_requested", "reset_url")]
)
async def test_the_mailed_address_is_that_of_the_page(accounts: Any, subject: str, field: str) -> None:
    token = await reset(accounts) if field == "reset_url" else await verification(accounts)
    [_, event] = (await accounts.events(subject))[-1]
    link = urlsplit(event[field])
    page = await accounts.client.get(f"{link.path}?{link.query}")
    assert (page.status_code, parse_qs(link.query)) == (200, {"token": [token]})


async def test_a_mail_is_proved_by_the_button_and_not_by_opening(accounts: Any) -> None:
    token = await verification(accounts)

    looks = [await opened(accounts, "/verify-email", token) for _ in range(3)]
    [before] = await accounts.database.fetch("SELECT email_verified_at FROM users")
    done = await pressed(accounts, "/verify-email", token=token)
    [after] = await accounts.database.fetch("SELECT email_verified_at FROM users")

    assert [(look.status_code, heading(look)) for look in looks] == [(200, "Confirm your e-mail address")] * 3
    assert f'<input type="hidden" name="token" value="{token}">' in looks[-1].text
    assert before["email_verified_at"] is None
    assert (done.status_code, heading(done)) == (200, "Your e-mail address is confirmed")
    assert after["email_verified_at"] is not None
    assert len(await accounts.events("accounts.email_verified")) == 1


async def test_a_password_is_set_by_the_form_and_not_by_opening(accounts: Any) -> None:
    token = await reset(accounts)
    session = await accounts.login()

    looks = [await opened(accounts, "/reset-password", token) for _ in range(3)]
    unchanged = await accounts.login()
    done = await pressed(accounts, "/reset-password", token=token, password=ANOTHER)

    assert [(look.status_code, heading(look)) for look in looks] == [(200, "Choose a new password")] * 3
    [field] = re.findall(r'<input id="password"[^>]*>', looks[-1].text)
    assert {'type="password"', 'autocomplete="new-password"', 'minlength="8"', "required"} <= set(field.strip("<>").split())
    assert (done.status_code, heading(done)) == (200, "Your new password is set")
    for old in (session, unchanged):
        assert (await accounts.post("/auth/refresh", {"refresh_token": old["refresh_token"]})).status_code == 401
    assert (await accounts.post("/auth/login", {"email": MAIL, "password": PASSWORD})).status_code == 401
    assert (await accounts.login(password=ANOTHER))["role"] == "USER"


@pytest.mark.parametrize(
    ("password", "reason"), [("short", "at least 8 characters"), ("password", "among the first that others will")]
)
async def test_a_refused_password_says_why_and_the_form_stays(accounts: Any, password: str, reason: str) -> None:
    token = await reset(accounts)

    refused = await pressed(accounts, "/reset-password", token=token, password=password)
    done = await pressed(accounts, "/reset-password", token=token, password=ANOTHER)

    assert (refused.status_code, heading(refused)) == (422, "Choose a new password")
    assert reason in refused.text
    assert f'value="{password}"' not in refused.text
    assert token in refused.text
    assert done.status_code == 200


@pytest.mark.parametrize(("path", "made"), [("/verify-email", verification), ("/reset-password", reset)])
async def test_a_link_that_was_used_or_has_expired_says_so_and_offers_a_new_one(accounts: Any, path: str, made: Any) -> None:
    token = await made(accounts)
    await accounts.execute("UPDATE link_tokens SET expires_at = clock_timestamp()")
    expired = [await opened(accounts, path, token), await pressed(accounts, path, token=token, password=ANOTHER)]
    await accounts.execute("UPDATE link_tokens SET expires_at = clock_timestamp() + interval '1 hour'")
    assert (await pressed(accounts, path, token=token, password=ANOTHER)).status_code == 200
    used = [await opened(accounts, path, token), await pressed(accounts, path, token=token, password=ANOTHER)]

    for answer in (*expired, *used):
        assert (answer.status_code, heading(answer)) == (400, ENDED)
        assert '<input id="email" name="email"' in answer.text


@pytest.mark.parametrize(
    ("path", "subject"),
    [
        ("/verify-email", "accounts.email_verification_requested"),
        ("/reset-password", "accounts.password_reset_requested"),
    ],
)
async def test_asking_on_a_page_mails_a_link_and_tells_nobody_who_has_an_account(accounts: Any, path: str, subject: str) -> None:
    await accounts.signup()

    ask = await accounts.client.get(path)
    known, unknown = [await pressed(accounts, path, email=mail) for mail in (MAIL, "donor2@example.org")]
    wrong = await pressed(accounts, path, email="nobody")

    assert (ask.status_code, '<input id="email" name="email"' in ask.text) == (200, True)
    assert (known.status_code, known.text) == (unknown.status_code, unknown.text)
    assert (known.status_code, heading(known)) == (202, "Please look into your mailbox")
    assert (wrong.status_code, "this is not an e-mail address" in wrong.text) == (422, True)
    assert [event["email"] for _, event in await accounts.events(subject)] == [MAIL]


@pytest.mark.parametrize("token", ["", "x", "x" * 5000, "\x00", "<script>", "é\U0001f600", "%FF"])
@pytest.mark.parametrize("path", ["/verify-email", "/reset-password"])
async def test_who_has_no_valid_token_learns_and_changes_nothing(accounts: Any, path: str, token: str) -> None:
    await accounts.signup()

    shown = await opened(accounts, path, token)
    answer = await pressed(accounts, path, token=token, password=ANOTHER)

    assert shown.status_code == (400 if token else 200)
    assert (answer.status_code, heading(answer)) == (400, ENDED)
    for page in (shown, answer):
        assert MAIL not in page.text
        assert "<script>" not in page.text
    await accounts.login()
    assert await accounts.events("accounts.email_verified") == []


async def test_a_link_does_nothing_on_the_page_of_the_other_kind(accounts: Any) -> None:
    token = await verification(accounts)

    shown = await opened(accounts, "/reset-password", token)
    crossed = await pressed(accounts, "/reset-password", token=token, password=ANOTHER)

    assert [(one.status_code, heading(one)) for one in (shown, crossed)] == [(400, ENDED)] * 2
    await accounts.login()


@pytest.mark.parametrize("path", ["/verify-email", "/reset-password"])
async def test_pages_are_kept_nowhere_and_let_nothing_in_or_out(accounts: Any, path: str) -> None:
    token = await (verification if path == "/verify-email" else reset)(accounts)
    pages = [
        await accounts.client.get(path),
        await opened(accounts, path, token),
        await opened(accounts, path, "x"),
        await pressed(accounts, path, token=token, password=ANOTHER),
    ]
    for page in pages:
        [style] = re.findall(r"<style>(.*?)</style>", page.text, flags=re.DOTALL)
        mark = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
        policy = f"default-src 'none'; style-src 'sha256-{mark}'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        assert page.headers.get_list("content-security-policy") == [policy]
        assert page.headers.get_list("referrer-policy") == ["no-referrer"]
        assert page.headers.get_list("cache-control") == ["no-store"]
        assert page.headers.get_list("x-content-type-options") == ["nosniff"]
        assert "<script" not in page.text
        assert "style=" not in page.text


@pytest.mark.parametrize("options", [{"rate_login": 3}])
@pytest.mark.parametrize("path", ["/verify-email", "/reset-password"])
async def test_the_limits_of_the_api_hold_for_the_pages(accounts: Any, path: str) -> None:
    asked = [await pressed(accounts, path, email=MAIL) for _ in range(4)]
    by_api = await accounts.post({"/verify-email": "/auth/verify-email"}.get(path, "/auth/password/forgot"), {"email": MAIL})
    guessed = [await pressed(accounts, path, token="x", password=ANOTHER) for _ in range(3)]
    opened_ = [await opened(accounts, path, "x") for _ in range(4)]

    assert [answer.status_code for answer in asked] == [202, 202, 202, 429]
    assert by_api.status_code == 429
    assert [answer.status_code for answer in (*guessed, *opened_)] == [400] * 6 + [429]
    for answer in (asked[-1], opened_[-1]):
        assert heading(answer) == "Too many tries"
        assert 1 <= int(answer.headers["retry-after"]) <= 60


async def test_while_the_database_is_away_a_page_says_so(accounts: Any) -> None:
    token = await verification(accounts)
    await accounts.database.close()

    answer = await opened(accounts, "/verify-email", token)

    assert (answer.status_code, heading(answer)) == (503, "One moment, please")
