"""People and their data: sign-up, mailed links, profile, addresses, preferences, export, erasure; and what strangers get."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from careforall.contracts.donor import DonorKeys

MAIL = "donor1@example.org"
OTHER = "donor2@example.org"
PASSWORD = "quiet harbour lamp"
HOME = {"type": "SHIPPING", "name": "Donor One", "line1": "1 Quay Street", "city": "Harbour", "country": "GB"}


def code(answer: Any) -> str:
    return str(answer.json()["code"])


def fields(answer: Any) -> list[tuple[str, str]]:
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


async def count(accounts: Any, table: str) -> int:
    [row] = await accounts.database.fetch(f"SELECT count(*) FROM {table}")
    return int(row["count"])


async def test_a_signup_makes_an_account_and_mails_a_link(accounts: Any) -> None:
    body = {"email": "Donor1@Example.ORG", "password": PASSWORD, "first_name": "Donor", "last_name": "One"}

    answer = await accounts.post("/auth/signup", body)

    user = answer.json()
    assert answer.status_code == 201
    assert (user["email"], user["first_name"], user["role"], user["status"]) == (MAIL, "Donor", "USER", "ACTIVE")
    assert user["email_verified"] is False
    assert "password" not in answer.text
    [(envelope, event)] = await accounts.events("accounts.user_registered")
    assert (event["user_id"], event["email"], envelope.aggregate_version) == (user["id"], MAIL, 1)
    assert event["verification_url"].startswith(f"{accounts.settings.public_url}/verify-email?token=")


async def test_a_taken_mail_is_409_in_every_writing(accounts: Any) -> None:
    await accounts.signup("jos\u00e9@example.org")

    for twin in ("jos\u00e9@example.org", "jose\u0301@example.org", "JOS\u00c9@EXAMPLE.ORG"):
        answer = await accounts.post("/auth/signup", {"email": twin, "password": PASSWORD})
        assert (answer.status_code, code(answer)) == (409, "email_taken")

    assert await count(accounts, "users") == 1
    assert (await accounts.login("jose\u0301@example.org"))["role"] == "USER"


async def test_ten_signups_at_once_make_one_account(accounts: Any) -> None:
    body = {"email": MAIL, "password": PASSWORD}

    answers = await asyncio.gather(*(accounts.post("/auth/signup", body) for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 9
    assert (await count(accounts, "users"), await count(accounts, "outbox")) == (1, 1)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"email": MAIL, "password": "x" * 7}, ("/password", "too_short")),
        ({"email": MAIL, "password": "xy" * 64 + "z"}, ("/password", "too_long")),
        ({"email": MAIL, "password": "Password123"}, ("/password", "breached_password")),
        ({"email": MAIL, "password": MAIL}, ("/password", "breached_password")),
        ({"email": "nobody", "password": PASSWORD}, ("/email", "invalid_email")),
        ({"email": "a\0b@example.org", "password": PASSWORD}, ("/email", "invalid_email")),
        ({"email": MAIL}, ("/password", "required_field")),
        ({"email": MAIL, "password": PASSWORD, "first_name": "a\0"}, ("/first_name", "invalid_character")),
        ({"email": MAIL, "password": PASSWORD, "last_name": "a\r\nb"}, ("/last_name", "invalid_character")),
        ({"email": MAIL, "password": PASSWORD, "role": "ADMIN"}, ("/role", "unknown_field")),
        ({"email": MAIL, "password": PASSWORD, "email_verified": True}, ("/email_verified", "unknown_field")),
        ({"email": MAIL, "password": PASSWORD, "is_admin": True}, ("/is_admin", "unknown_field")),
    ],
)
async def test_a_refused_signup_names_the_field_and_changes_nothing(
    accounts: Any, body: dict[str, Any], field: tuple[str, str]
) -> None:
    answer = await accounts.post("/auth/signup", body)

    assert answer.status_code == 422
    assert fields(answer) == [field]
    assert (await count(accounts, "users"), await count(accounts, "outbox")) == (0, 0)


@pytest.mark.parametrize("password", ["xyzzy yx", "xy" * 64, "e\u0301" * 128])
async def test_passwords_at_the_edges_work(accounts: Any, password: str) -> None:
    await accounts.signup(password=password)
    assert (await accounts.login(password=password))["role"] == "USER"


async def test_the_mailed_link_proves_the_mail_once(accounts: Any) -> None:
    token = await accounts.join()
    link = await accounts.link_token("accounts.user_registered", "verification_url")

    first = await accounts.post("/auth/verify-email", {"token": link})
    second = await accounts.post("/auth/verify-email", {"token": link})

    assert (first.status_code, first.json()) == (200, {"email_verified": True})
    assert (second.status_code, code(second)) == (400, "invalid_link")
    assert (await accounts.call("GET", "/users/me", token=token)).json()["email_verified"] is True
    [(_, event)] = await accounts.events("accounts.email_verified")
    assert event["email"] == MAIL
    principal = await accounts.verifier.token((await accounts.login())["access_token"])
    assert principal.email_verified


async def test_asking_for_links_is_answered_alike_for_known_and_unknown_mails(accounts: Any) -> None:
    await accounts.signup()
    for path in ("/auth/verify-email", "/auth/password/forgot"):
        known = await accounts.post(path, {"email": MAIL})
        unknown = await accounts.post(path, {"email": OTHER})
        assert (known.status_code, known.json()) == (unknown.status_code, unknown.json()) == (202, {"status": "accepted"})
    assert len(await accounts.events("accounts.email_verification_requested")) == 1
    assert len(await accounts.events("accounts.password_reset_requested")) == 1


async def test_a_new_link_ends_the_old_one(accounts: Any) -> None:
    await accounts.signup()
    old = await accounts.link_token("accounts.user_registered", "verification_url")
    await accounts.post("/auth/verify-email", {"email": MAIL})
    new = await accounts.link_token("accounts.email_verification_requested", "verification_url")

    assert (await accounts.post("/auth/verify-email", {"token": old})).status_code == 400
    assert (await accounts.post("/auth/verify-email", {"token": new})).status_code == 200


@pytest.mark.parametrize("body", [{}, {"token": "x", "email": MAIL}])
async def test_verification_takes_either_token_or_mail(accounts: Any, body: dict[str, str]) -> None:
    assert (await accounts.post("/auth/verify-email", body)).status_code == 422


async def test_a_reset_sets_the_password_and_ends_everything_else(accounts: Any) -> None:
    await accounts.signup()
    before = await accounts.login()
    await accounts.post("/auth/password/forgot", {"email": MAIL})
    link = await accounts.link_token("accounts.password_reset_requested", "reset_url")

    weak = await accounts.post("/auth/password/reset", {"token": link, "password": "password"})
    done = await accounts.post("/auth/password/reset", {"token": link, "password": "another quiet lamp"})
    again = await accounts.post("/auth/password/reset", {"token": link, "password": "another quiet lamp"})

    assert (weak.status_code, fields(weak)) == (422, [("/password", "breached_password")])
    assert (done.status_code, again.status_code, code(again)) == (204, 400, "invalid_link")
    assert (await accounts.call("GET", "/users/me", token=before["access_token"])).status_code == 401
    assert (await accounts.post("/auth/refresh", {"refresh_token": before["refresh_token"]})).status_code == 401
    assert (await accounts.post("/auth/login", {"email": MAIL, "password": PASSWORD})).status_code == 401
    after = await accounts.login(password="another quiet lamp")
    me = await accounts.call("GET", "/users/me", token=after["access_token"])
    assert (me.status_code, me.json()["email_verified"]) == (200, True)
    [(_, event)] = await accounts.events("accounts.user_suspended")
    assert event["reason"] == "PASSWORD_CHANGED"


async def test_expired_links_and_links_for_something_else_do_not_hold(accounts: Any) -> None:
    await accounts.signup()
    verification = await accounts.link_token("accounts.user_registered", "verification_url")
    crossed = await accounts.post("/auth/password/reset", {"token": verification, "password": "another quiet lamp"})
    await accounts.execute("UPDATE link_tokens SET expires_at = clock_timestamp()")
    expired = await accounts.post("/auth/verify-email", {"token": verification})
    assert (crossed.status_code, code(crossed)) == (400, "invalid_link")
    assert (expired.status_code, code(expired)) == (400, "invalid_link")


async def test_a_profile_changes_by_what_is_given(accounts: Any) -> None:
    token = await accounts.join()

    changed = await accounts.call("PATCH", "/users/me", {"first_name": "Donor", "phone": "+44 20 7946 0000"}, token=token)
    stale = await accounts.call("PATCH", "/users/me", {"last_name": "One", "version": 1}, token=token)
    matched = await accounts.call("PATCH", "/users/me", {"last_name": "One"}, token=token, if_match='"2"')

    assert (changed.status_code, changed.headers["etag"], changed.json()["version"]) == (200, '"2"', 2)
    assert (stale.status_code, code(stale), stale.json()["current_version"]) == (409, "version_conflict", 2)
    user = matched.json()
    assert (user["first_name"], user["last_name"], user["phone"]) == ("Donor", "One", "+44 20 7946 0000")


@pytest.mark.parametrize("field", ["role", "status", "email", "email_verified", "id", "password_hash", "is_admin", "created_at"])
async def test_mass_assignment_is_refused(accounts: Any, field: str) -> None:
    token = await accounts.join()
    before = (await accounts.call("GET", "/users/me", token=token)).json()

    answer = await accounts.call("PATCH", "/users/me", {"first_name": "Donor", field: "ADMIN"}, token=token)

    assert (answer.status_code, fields(answer)) == (422, [(f"/{field}", "unknown_field")])
    assert (await accounts.call("GET", "/users/me", token=token)).json() == before


async def defaults(accounts: Any, token: str) -> dict[str, str]:
    items = (await accounts.call("GET", "/users/me/addresses", token=token)).json()["items"]
    return {item["type"]: item["id"] for item in items if item["is_default"]}


async def test_there_is_one_default_address_of_each_type(accounts: Any) -> None:
    token = await accounts.join()
    first = (await accounts.post("/users/me/addresses", HOME, token=token)).json()
    second = (await accounts.post("/users/me/addresses", HOME, token=token)).json()
    bill = (await accounts.post("/users/me/addresses", {**HOME, "type": "BILLING"}, token=token)).json()
    assert await defaults(accounts, token) == {"SHIPPING": first["id"], "BILLING": bill["id"]}

    third = (await accounts.post("/users/me/addresses", {**HOME, "is_default": True}, token=token)).json()
    assert await defaults(accounts, token) == {"SHIPPING": third["id"], "BILLING": bill["id"]}

    patched = await accounts.call("PATCH", f"/users/me/addresses/{second['id']}", {"is_default": True}, token=token)
    assert (patched.status_code, patched.json()["is_default"]) == (200, True)
    assert await defaults(accounts, token) == {"SHIPPING": second["id"], "BILLING": bill["id"]}

    assert (await accounts.call("DELETE", f"/users/me/addresses/{second['id']}", token=token)).status_code == 204
    assert await defaults(accounts, token) == {"SHIPPING": first["id"], "BILLING": bill["id"]}

    await accounts.call("PATCH", f"/users/me/addresses/{first['id']}", {"type": "BILLING", "is_default": True}, token=token)
    assert await defaults(accounts, token) == {"SHIPPING": third["id"], "BILLING": first["id"]}


async def test_parallel_defaults_leave_one(accounts: Any) -> None:
    token = await accounts.join()

    answers = await asyncio.gather(
        *(accounts.post("/users/me/addresses", {**HOME, "is_default": True}, token=token) for _ in range(6))
    )

    assert [answer.status_code for answer in answers] == [201] * 6
    [row] = await accounts.database.fetch("SELECT count(*) FROM addresses WHERE is_default")
    assert row["count"] == 1


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"country": "gb"}, ("/country", "invalid_value")),
        ({"type": "HOME"}, ("/type", "invalid_value")),
        ({"name": "  "}, ("/name", "required_field")),
        ({"line1": "a\0"}, ("/line1", "invalid_character")),
        ({"city": "x" * 101}, ("/city", "invalid_value")),
        ({"user_id": str(uuid.uuid4())}, ("/user_id", "unknown_field")),
        ({"id": str(uuid.uuid4())}, ("/id", "unknown_field")),
    ],
)
async def test_a_refused_address_names_the_field(accounts: Any, change: dict[str, str], field: tuple[str, str]) -> None:
    token = await accounts.join()
    answer = await accounts.post("/users/me/addresses", {**HOME, **change}, token=token)
    assert (answer.status_code, fields(answer)) == (422, [field])
    assert await count(accounts, "addresses") == 0


async def test_an_address_that_is_added_twice_under_a_key_is_one_and_is_kept_once(accounts: Any) -> None:
    token = await accounts.join()
    made = await accounts.post("/users/me/addresses", HOME, token=token, idempotency_key="home")
    again = await accounts.post("/users/me/addresses", HOME, token=token, idempotency_key="home")
    assert (made.status_code, again.status_code, again.json()) == (201, 201, made.json())
    assert (again.headers["idempotent-replayed"], again.headers["etag"]) == ("true", '"1"')
    other = await accounts.post("/users/me/addresses", {**HOME, "city": "Bay"}, token=token, idempotency_key="home")
    assert (other.status_code, code(other)) == (422, "idempotency_key_reused")
    assert await count(accounts, "addresses") == 1
    [kept] = await accounts.database.fetch("SELECT body FROM idempotency_keys")
    assert b"Quay" not in kept["body"]


async def test_addresses_of_others_do_not_exist(accounts: Any) -> None:
    owner, stranger = await accounts.join(), await accounts.join(OTHER)
    made = (await accounts.post("/users/me/addresses", HOME, token=owner)).json()
    unusable = ["not-an-id", str(uuid.UUID(int=0)), made["id"].replace("-", ""), str(uuid.uuid4())]

    for identifier in [made["id"], *unusable]:
        path = f"/users/me/addresses/{identifier}"
        answers = [
            await accounts.call("GET", path, token=stranger),
            await accounts.call("PATCH", path, {"name": "Mine"}, token=stranger),
            await accounts.call("DELETE", path, token=stranger),
        ]
        assert [answer.status_code for answer in answers] == [404, 404, 404]
    assert (await accounts.call("GET", f"/users/me/addresses/{made['id'].upper()}", token=owner)).json() == made


async def test_addresses_are_bounded(accounts: Any) -> None:
    token = await accounts.join()
    [user] = await accounts.database.fetch("SELECT id FROM users")
    await accounts.execute(
        """
        INSERT INTO addresses (id, user_id, type, name, line1, city, country)
        SELECT gen_random_uuid(), $1, 'SHIPPING', 'Donor One', '1 Quay Street', 'Harbour', 'GB' FROM generate_series(1, 50)
        """,
        user["id"],
    )
    answer = await accounts.post("/users/me/addresses", HOME, token=token)
    assert (answer.status_code, code(answer)) == (409, "too_many_addresses")


async def test_preferences_begin_without_promotions_and_are_told(accounts: Any) -> None:
    token = await accounts.join()

    first = await accounts.call("GET", "/users/me/preferences", token=token)
    changed = await accounts.call("PATCH", "/users/me/preferences", {"topics": ["PROMOTION", "PROMOTION"]}, token=token)
    replaced = await accounts.call("PUT", "/users/me/preferences", {"language": "de"}, token=token)
    gone = await accounts.call("DELETE", "/users/me/preferences", token=token)
    last = await accounts.call("GET", "/users/me/preferences", token=token)

    assert first.json() == {"language": "en", "channels": ["EMAIL", "IN_APP"], "topics": []}
    assert changed.json() == {"language": "en", "channels": ["EMAIL", "IN_APP"], "topics": ["PROMOTION"]}
    assert replaced.json() == {"language": "de", "channels": ["EMAIL", "IN_APP"], "topics": []}
    assert (gone.status_code, last.json()) == (204, first.json())
    events = await accounts.events("accounts.preferences_changed")
    assert [event["topics"] for _, event in events] == [["PROMOTION"], [], []]
    assert [envelope.aggregate_version for envelope, _ in events] == [2, 3, 4]
    rows = await accounts.database.run(lambda connection: accounts.parts.snapshot(connection, None, 10))
    assert [row.event_type for row in rows] == ["accounts.preferences_changed"]
    assert await accounts.database.run(lambda connection: accounts.parts.snapshot(connection, rows[-1].aggregate_id, 10)) == []


async def test_an_export_holds_everything_but_secrets(accounts: Any) -> None:
    token = await accounts.join()
    await accounts.post("/users/me/addresses", HOME, token=token)

    answer = await accounts.call("GET", "/users/me/export", token=token)

    body = answer.json()
    assert set(body) == {"exported_at", "user", "addresses", "preferences", "sessions"}
    assert (body["user"]["email"], len(body["addresses"]), len(body["sessions"])) == (MAIL, 1, 1)
    assert "argon2" not in answer.text
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_erasure_removes_the_person_and_keeps_the_record(accounts: Any) -> None:
    token = await accounts.join()
    link = await accounts.link_token("accounts.user_registered", "verification_url")
    await accounts.post("/auth/verify-email", {"token": link})
    user = (await accounts.call("GET", "/users/me", token=token)).json()
    await accounts.post("/users/me/addresses", HOME, token=token)
    await accounts.call("PATCH", "/users/me/preferences", {"topics": ["PROMOTION"]}, token=token)

    answer = await accounts.post("/users/me/erase", token=token)

    assert answer.status_code == 200
    tables = ("users", "addresses", "preferences", "sessions", "refresh_tokens", "link_tokens")
    assert [await count(accounts, table) for table in tables] == [0] * len(tables)
    donor_key = DonorKeys(accounts.settings.secret_key).of(MAIL)
    [record] = await accounts.database.fetch("SELECT id, user_id, donor_key FROM erasures")
    assert (str(record["id"]), str(record["user_id"]), record["donor_key"]) == (answer.json()["id"], user["id"], donor_key)
    [(envelope, event)] = await accounts.events("accounts.user_erased")
    assert event == {"user_id": user["id"], "email": MAIL, "donor_key": donor_key}
    [(_, ended)] = await accounts.events("accounts.user_suspended")
    assert (ended["reason"], envelope.aggregate_version) == ("DELETED", 4)
    assert (await accounts.call("GET", "/users/me", token=token)).status_code == 401
    assert (await accounts.post("/auth/login", {"email": MAIL, "password": PASSWORD})).status_code == 401
    await accounts.signup()


async def test_erasing_an_account_under_an_unproved_mail_forgets_nothing_of_its_owner(accounts: Any) -> None:
    stranger = await accounts.join()

    assert (await accounts.post("/users/me/erase", token=stranger)).status_code == 200

    [(_, event)] = await accounts.events("accounts.user_erased")
    assert (event["email"], event["donor_key"]) == ("", "")
    assert await count(accounts, "users") == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/me"),
        ("PATCH", "/users/me"),
        ("GET", "/users/me/addresses"),
        ("POST", "/users/me/addresses"),
        ("GET", "/users/me/preferences"),
        ("GET", "/users/me/export"),
        ("POST", "/users/me/erase"),
        ("GET", "/users"),
        ("GET", "/api-keys"),
        ("POST", "/api-keys"),
    ],
)
async def test_nobody_gets_nothing(accounts: Any, method: str, path: str) -> None:
    answer = await accounts.call(method, path, {} if method in ("POST", "PATCH") else None)
    assert (answer.status_code, code(answer)) == (401, "unauthorized")
