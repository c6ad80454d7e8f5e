"""Rules about people: mails, passwords, texts, the life of a refresh token and of a signing key."""

from __future__ import annotations

import itertools
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from careforall.accounts.domain import (
    AddressFields,
    Profile,
    RefreshState,
    RefreshVerdict,
    SigningKey,
    checked_address,
    checked_password,
    checked_profile,
    judge_refresh,
    published_keys,
    rotation_due,
    signing_key,
)
from careforall.accounts.passwords import Passwords
from careforall.contracts.mail import checked_email
from careforall.kit.errors import InvalidInput

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LIFE = timedelta(minutes=12)
MAIL = "donor1@example.org"


def refusal(caught: pytest.ExceptionInfo[InvalidInput]) -> list[tuple[str, str]]:
    return [(error.pointer, error.code) for error in caught.value.errors]


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("donor1@example.org", "donor1@example.org"),
        ("Donor1@EXAMPLE.org", "donor1@example.org"),
        ("jose\u0301@example.org", "jos\u00e9@example.org"),
        ("JOS\u00c9@example.org", "jos\u00e9@example.org"),
        ("donor1+gifts@example.org", "donor1+gifts@example.org"),
    ],
)
def test_mails_have_one_form(typed: str, stored: str) -> None:
    assert checked_email(typed) == stored


NO_MAILS = """
donor1
donor1@
@example.org
a b@example.org
donor1@example
donor1@[127.0.0.1]
donor1@example..org
\u202edonor1@example.org
"""


@pytest.mark.parametrize(
    "typed",
    ["", "a\0@example.org", "a\n@example.org", "donor1@example.org\n", "x" * 245 + "@example.org", *NO_MAILS.strip().split("\n")],
)
def test_what_is_no_mail_is_refused(typed: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_email(typed)
    assert refusal(caught) == [("/email", "invalid_email")]


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("", "too_short"),
        ("x", "too_short"),
        ("klammer", "too_short"),
        ("klammern", ""),
        ("e\u0301" * 7, "too_short"),
        ("e\u0301" * 8, ""),
        ("xy" * 64, ""),
        ("xy" * 64 + "z", "too_long"),
        ("e\u0301" * 128, ""),
        ("PassWord1", "breached_password"),
        ("1234567890", "breached_password"),
        ("Donor1@example.ORG", "breached_password"),
    ],
)
def test_password_edges(typed: str, code: str) -> None:
    breached = Passwords().breached
    if not code:
        assert checked_password(typed, breached, email=MAIL) == unicodedata.normalize("NFC", typed)
        return
    with pytest.raises(InvalidInput) as caught:
        checked_password(typed, breached, email=MAIL)
    assert refusal(caught) == [("/password", code)]


def test_the_breached_list_holds_only_what_could_be_chosen() -> None:
    breached = Passwords().breached
    assert len(breached) > 300
    assert {word for word in breached if len(word) < 8 or word != word.casefold()} == set()


def test_names_are_tidied_and_control_characters_refused() -> None:
    assert checked_profile(Profile(first_name="  Jose\u0301 ")).first_name == "Jos\u00e9"
    with pytest.raises(InvalidInput) as caught:
        checked_profile(Profile(first_name="a\0b", last_name="\u202ename"))
    assert refusal(caught) == [("/first_name", "invalid_character"), ("/last_name", "invalid_character")]


@pytest.mark.parametrize("phone", ["12", "+44 20 7946 0000x", "\u0661\u0662\u0663\u0664", "1" * 33])
def test_phones_nobody_can_dial_are_refused(phone: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_profile(Profile(phone=phone))
    assert refusal(caught) == [("/phone", "invalid_phone")]


def address(**changes: Any) -> AddressFields:
    plain: dict[str, Any] = {
        "type": "SHIPPING",
        "name": "Donor One",
        "line1": "1 Quay Street",
        "line2": "",
        "city": "Harbour",
        "region": "",
        "postal_code": "H1",
        "country": "GB",
        "phone": "",
        "is_default": False,
    }
    return AddressFields(**{**plain, **changes})


def test_addresses_need_a_name_a_line_and_a_city() -> None:
    with pytest.raises(InvalidInput) as caught:
        checked_address(address(name=" ", line1="", city="\u00a0"))
    assert refusal(caught) == [("/name", "required_field"), ("/line1", "required_field"), ("/city", "required_field")]


def state(**changes: bool) -> RefreshState:
    plain = dict.fromkeys(RefreshState.__struct_fields__, False) | {"user_active": True}
    return RefreshState(**(plain | changes))


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        ({}, RefreshVerdict.ROTATE),
        ({"expired": True}, RefreshVerdict.ENDED),
        ({"session_ended": True}, RefreshVerdict.ENDED),
        ({"user_active": False}, RefreshVerdict.ENDED),
        ({"used": True, "within_grace": True}, RefreshVerdict.REPEAT),
        ({"used": True}, RefreshVerdict.REUSED),
        ({"used": True, "within_grace": True, "successor_used": True}, RefreshVerdict.REUSED),
    ],
)
def test_refresh_tokens_are_judged(facts: dict[str, bool], verdict: RefreshVerdict) -> None:
    assert judge_refresh(state(**facts)) is verdict


def test_only_a_fresh_token_of_a_living_session_rotates() -> None:
    names = RefreshState.__struct_fields__
    for values in itertools.product((False, True), repeat=len(names)):
        facts = dict(zip(names, values, strict=True))
        fresh = facts["user_active"] and not (facts["session_ended"] or facts["expired"] or facts["used"])
        assert (judge_refresh(RefreshState(**facts)) is RefreshVerdict.ROTATE) == fresh


def key(kid: str, minutes: float) -> SigningKey:
    at = NOW + timedelta(minutes=minutes)
    return SigningKey(kid=kid, public_key="", sealed_private_key=b"", created_at=at, signs_from=at)


def test_the_newest_key_whose_time_has_come_signs() -> None:
    keys = [key("old", -60), key("now", -1), key("next", 5)]
    found = signing_key(keys, NOW)
    assert found is not None
    assert found.kid == "now"
    assert signing_key([key("next", 5)], NOW) is None


@pytest.mark.parametrize(
    ("minutes", "kids"),
    [
        (-1, ["now", "next"]),
        (0, ["now", "next"]),
        (5, ["now", "next"]),
        (16.9, ["now", "next"]),
        (17.1, ["next"]),
        (900, ["next"]),
    ],
)
def test_a_key_is_published_until_its_last_token_has_ended(minutes: float, kids: list[str]) -> None:
    keys = [key("now", -100), key("next", 5)]
    assert [one.kid for one in published_keys(keys, NOW + timedelta(minutes=minutes), token_life=LIFE)] == kids


def test_whatever_signs_is_published() -> None:
    keys = [key(str(number), number * 3) for number in range(10)]
    for minute in range(-5, 60):
        now = NOW + timedelta(minutes=minute)
        published = published_keys(keys, now, token_life=LIFE)
        signers = {signing_key(keys, now - timedelta(minutes=back)) for back in range(12)} - {None}
        assert {one.kid for one in signers if one} <= {one.kid for one in published}


def test_rotation_is_due_when_the_newest_key_is_old() -> None:
    month = timedelta(days=30)
    assert rotation_due([], NOW, every=month)
    assert rotation_due([key("a", -60 * 24 * 31)], NOW, every=month)
    assert not rotation_due([key("a", -60 * 24 * 31), key("b", -1)], NOW, every=month)


def test_states_are_frozen() -> None:
    with pytest.raises(AttributeError):
        setattr(state(), "used", True)  # noqa: B010 - the very thing that must fail
    assert msgspec.structs.asdict(state())["used"] is False
