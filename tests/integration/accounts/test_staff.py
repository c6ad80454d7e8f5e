"""What administrators may do, and nobody else; API keys; the first administrator."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from careforall.kit.http.identity import InvalidToken, Verifier

MAIL = "donor1@example.org"
PASSWORD = "quiet harbour lamp"
KEY = {"name": "Reports", "scopes": ["accounts:read", "donations:read"]}


def code(answer: Any) -> str:
    return str(answer.json()["code"])


async def _nobody(_: str) -> None:
    return None


async def test_only_administrators_reach_staff_routes(accounts: Any) -> None:
    token = await accounts.join()
    routes = [("GET", "/users"), ("GET", f"/users/{uuid.uuid4()}"), ("PATCH", f"/users/{uuid.uuid4()}"), ("GET", "/api-keys")]
    routes += [("POST", "/api-keys"), ("DELETE", f"/api-keys/{uuid.uuid4()}"), ("PATCH", f"/api-keys/{uuid.uuid4()}")]
    for method, path in routes:
        answer = await accounts.call(method, path, {} if method in ("POST", "PATCH") else None, token=token)
        assert (answer.status_code, code(answer)) == (403, "forbidden")


async def test_users_are_found_and_paged(accounts: Any) -> None:
    admin = await accounts.admin()
    made = [(await accounts.signup(f"donor{number}@example.org"))["id"] for number in range(1, 6)]

    first = (await accounts.call("GET", "/users?search=DONOR&limit=3", token=admin)).json()
    second = (await accounts.call("GET", f"/users?search=DONOR&limit=3&cursor={first['next_cursor']}", token=admin)).json()
    admins = (await accounts.call("GET", "/users?role=ADMIN", token=admin)).json()
    wild = (await accounts.call("GET", "/users?search=%25", token=admin)).json()

    assert [user["id"] for user in first["items"] + second["items"]] == made[::-1]
    assert second["next_cursor"] is None
    assert [user["email"] for user in admins["items"]] == ["admin1@example.org"]
    assert wild["items"] == []


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1000000000", "cursor=forged!", "role=ROOT", "search=" + "x" * 101, "search=%00"]
)
async def test_bad_list_queries_are_refused(accounts: Any, query: str) -> None:
    answer = await accounts.call("GET", f"/users?{query}", token=await accounts.admin())
    assert answer.status_code == 422


async def test_a_process_that_starts_after_a_suspension_refuses_the_tokens_it_ended(accounts: Any) -> None:
    admin, fired = await accounts.admin(), await accounts.admin("admin2@example.org")
    user = (await accounts.call("GET", "/users/me", token=fired)).json()
    await accounts.call("PATCH", f"/users/{user['id']}", {"status": "SUSPENDED"}, token=admin)

    started = Verifier(lambda: accounts.parts.queries["query.accounts.jwks"](b""), _nobody)

    with pytest.raises(InvalidToken):
        await started.token(fired)
    assert (await started.token(admin)).is_admin


async def test_unknown_ids_are_404(accounts: Any) -> None:
    admin = await accounts.admin()
    for identifier in (uuid.uuid4(), uuid.UUID(int=0), "nonsense"):
        for path in (f"/users/{identifier}", f"/api-keys/{identifier}"):
            assert (await accounts.call("GET", path, token=admin)).status_code == 404
            body = {"role": "SELLER"} if "users" in path else {"name": "Other"}
            assert (await accounts.call("PATCH", path, body, token=admin)).status_code == 404


async def test_a_changed_role_ends_tokens_but_not_the_session(accounts: Any) -> None:
    admin = await accounts.admin()
    user = await accounts.signup()
    tokens = await accounts.login()

    stale = await accounts.call("PATCH", f"/users/{user['id']}", {"role": "SELLER", "version": 9}, token=admin)
    changed = await accounts.call("PATCH", f"/users/{user['id']}", {"role": "SELLER"}, token=admin, if_match='"1"')

    assert (stale.status_code, code(stale)) == (409, "version_conflict")
    assert (changed.status_code, changed.json()["role"]) == (200, "SELLER")
    assert (await accounts.call("GET", "/users/me", token=tokens["access_token"])).status_code == 401
    fresh = await accounts.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})
    assert (fresh.status_code, fresh.json()["role"]) == (200, "SELLER")
    [(_, event)] = await accounts.events("accounts.user_suspended")
    assert event["reason"] == "ROLE_CHANGED"


@pytest.mark.parametrize("body", [{"role": "ROOT"}, {"status": "GONE"}, {"email": MAIL}, {"password_hash": "x"}])
async def test_staff_cannot_assign_what_is_not_offered(accounts: Any, body: dict[str, str]) -> None:
    admin = await accounts.admin()
    user = await accounts.signup()
    answer = await accounts.call("PATCH", f"/users/{user['id']}", body, token=admin)
    assert answer.status_code == 422
    assert (await accounts.call("GET", f"/users/{user['id']}", token=admin)).json() == user


async def test_the_last_administrator_stays(accounts: Any) -> None:
    admin = await accounts.admin()
    me = (await accounts.call("GET", "/users/me", token=admin)).json()

    refused = [
        await accounts.call("PATCH", f"/users/{me['id']}", {"role": "USER"}, token=admin),
        await accounts.call("PATCH", f"/users/{me['id']}", {"status": "SUSPENDED"}, token=admin),
        await accounts.post("/users/me/erase", token=admin),
    ]

    assert [(answer.status_code, code(answer)) for answer in refused] == [(409, "last_admin")] * 3


async def test_two_administrators_cannot_resign_at_once(accounts: Any) -> None:
    tokens = [await accounts.admin(f"admin{number}@example.org") for number in (1, 2)]
    ids = [(await accounts.call("GET", "/users/me", token=token)).json()["id"] for token in tokens]

    answers = await asyncio.gather(
        *(accounts.call("PATCH", f"/users/{i}", {"role": "USER"}, token=token) for i, token in zip(ids, tokens, strict=True))
    )

    assert sorted(answer.status_code for answer in answers) == [200, 409]


async def test_an_administrator_is_made_and_made_again(accounts: Any) -> None:
    mail, password = await accounts.service.create_admin("Admin1@example.org")
    assert (mail, len(password) >= 20) == ("admin1@example.org", True)
    assert (await accounts.login(mail, password))["role"] == "ADMIN"

    await accounts.signup()
    before = await accounts.login()
    await accounts.service.create_admin(MAIL, "another quiet lamp")

    assert (await accounts.login(MAIL, "another quiet lamp"))["role"] == "ADMIN"
    assert (await accounts.post("/auth/refresh", {"refresh_token": before["refresh_token"]})).status_code == 401


async def test_making_the_same_administrator_again_changes_nothing(accounts: Any) -> None:
    await accounts.service.create_admin(MAIL, PASSWORD)
    tokens = await accounts.login()
    events = len(await accounts.events())

    await accounts.service.create_admin(MAIL, PASSWORD)

    assert len(await accounts.events()) == events
    assert (await accounts.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 200


async def test_an_api_key_cannot_be_asked_for_under_a_key_since_no_repeat_could_show_it(accounts: Any) -> None:
    admin = await accounts.admin()
    answer = await accounts.post("/api-keys", KEY, token=admin, idempotency_key="shop-1")
    assert (answer.status_code, code(answer)) == (400, "idempotency_key_refused")
    assert (await accounts.call("GET", "/api-keys", token=admin)).json()["items"] == []


async def test_an_api_key_is_shown_once_and_works(accounts: Any) -> None:
    admin = await accounts.admin()

    made = await accounts.post("/api-keys", KEY, token=admin)

    body = made.json()
    key = body.pop("key")
    assert made.status_code == 201
    assert (made.headers["cache-control"], key[:12], len(key)) == ("no-store", body["hint"], 47)
    listed = await accounts.call("GET", "/api-keys", token=admin)
    shown = await accounts.call("GET", f"/api-keys/{body['id']}", token=admin)
    assert (listed.json()["items"], shown.json()) == ([body], body)
    assert key not in listed.text + shown.text
    [row] = await accounts.database.fetch("SELECT * FROM api_keys")
    assert key not in str(dict(row))
    me = await accounts.call("GET", "/users/me", x_api_key=key)
    assert (me.status_code, me.json()["email"]) == (200, "admin1@example.org")
    used = (await accounts.call("GET", f"/api-keys/{body['id']}", token=admin)).json()["last_used_at"]
    assert abs(datetime.now(UTC) - datetime.fromisoformat(used)) < timedelta(minutes=1)


async def test_an_api_key_is_no_more_than_its_scopes(accounts: Any) -> None:
    admin = await accounts.admin()
    plain = (await accounts.post("/api-keys", KEY, token=admin)).json()["key"]
    strong = (await accounts.post("/api-keys", {"name": "All", "scopes": ["admin"]}, token=admin)).json()["key"]

    assert (await accounts.call("GET", "/users", x_api_key=plain)).status_code == 403
    assert (await accounts.call("GET", "/users", x_api_key=strong)).status_code == 200
    for key in (plain, strong):
        for method, path, body in (
            ("POST", "/api-keys", {"name": "More", "scopes": ["admin"]}),
            ("POST", "/users/me/erase", None),
            ("PATCH", "/users/me", {"first_name": "Other"}),
        ):
            assert (await accounts.call(method, path, body, x_api_key=key)).status_code == 403


async def test_an_api_key_makes_nobody_an_administrator(accounts: Any) -> None:
    admin = await accounts.admin()
    key = (await accounts.post("/api-keys", {"name": "All", "scopes": ["admin"]}, token=admin)).json()["key"]
    path = f"/users/{(await accounts.signup())['id']}"

    refused = await accounts.call("PATCH", path, {"role": "ADMIN", "status": "ACTIVE"}, x_api_key=key)
    assert (refused.status_code, refused.json()["code"]) == (403, "people_only")
    assert (await accounts.call("GET", path, token=admin)).json()["role"] == "USER"
    assert (await accounts.call("PATCH", path, {"status": "SUSPENDED"}, x_api_key=key)).status_code == 200
    assert (await accounts.call("PATCH", path, {"role": "ADMIN"}, token=admin)).status_code == 200


async def test_keys_end_by_revocation_expiry_and_with_their_owner(accounts: Any) -> None:
    admin = await accounts.admin()
    await accounts.admin("admin2@example.org")
    made = [(await accounts.post("/api-keys", KEY, token=admin)).json() for _ in range(3)]
    owner = accounts.service.staff.key_owner
    assert all([await owner(one["key"]) for one in made])

    assert (await accounts.call("DELETE", f"/api-keys/{made[0]['id']}", token=admin)).status_code == 204
    assert (await accounts.call("DELETE", f"/api-keys/{made[0]['id']}", token=admin)).status_code == 404
    await accounts.execute("UPDATE api_keys SET expires_at = clock_timestamp() WHERE id = $1", uuid.UUID(made[1]["id"]))
    assert [await owner(one["key"]) is not None for one in made] == [False, False, True]
    refused = await accounts.call("GET", "/users/me", x_api_key=made[0]["key"])
    assert (refused.status_code, code(refused)) == (401, "invalid_token")

    await accounts.call("PATCH", f"/users/{made[2]['owner_id']}", {"status": "SUSPENDED"}, token=admin)
    assert await owner(made[2]["key"]) is None


async def test_a_key_loses_staff_rights_with_its_owner(accounts: Any) -> None:
    admin, other = await accounts.admin(), await accounts.admin("admin2@example.org")
    made = (await accounts.post("/api-keys", {"name": "All", "scopes": ["admin"]}, token=admin)).json()
    assert (await accounts.service.staff.key_owner(made["key"])).of_staff

    await accounts.call("PATCH", f"/users/{made['owner_id']}", {"role": "USER"}, token=other)

    found = await accounts.service.staff.key_owner(made["key"])
    assert (found.role, found.of_staff) == ("USER", False)
    assert (await accounts.call("GET", "/users", x_api_key=made["key"])).status_code == 403


async def test_a_key_is_changed(accounts: Any) -> None:
    admin = await accounts.admin()
    made = (await accounts.post("/api-keys", KEY, token=admin)).json()
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()

    changed = await accounts.call("PATCH", f"/api-keys/{made['id']}", {"name": "Other", "expires_at": later}, token=admin)
    stale = await accounts.call("PATCH", f"/api-keys/{made['id']}", {"name": "Third"}, token=admin, if_match='"1"')

    assert (changed.status_code, changed.json()["name"], changed.json()["scopes"]) == (200, "Other", KEY["scopes"])
    assert (stale.status_code, stale.json()["current_version"]) == (409, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"scopes": []},
        {"scopes": ["everything"]},
        {"name": ""},
        {"name": " "},
        {"name": "a\0"},
        {"expires_at": "2020-01-01T00:00:00Z"},
        {"expires_at": "2099-01-01T00:00:00"},
        {"expires_at": "2099-02-30T00:00:00Z"},
        {"owner_id": str(uuid.uuid4())},
        {"key": "cfa_mine"},
    ],
)
async def test_refused_keys_are_not_made(accounts: Any, change: dict[str, Any]) -> None:
    answer = await accounts.post("/api-keys", {**KEY, **change}, token=await accounts.admin())
    assert answer.status_code == 422
    assert await accounts.database.fetch("SELECT 1 FROM api_keys") == []


async def test_the_jobs_forget_what_ended_long_ago(accounts: Any) -> None:
    await accounts.signup()
    await accounts.login()
    await accounts.execute("UPDATE sessions SET expires_at = clock_timestamp() - interval '2 days'")
    await accounts.execute("UPDATE link_tokens SET expires_at = clock_timestamp() - interval '2 days'")
    await accounts.login()

    await accounts.service.prune()

    [sessions] = await accounts.database.fetch("SELECT count(*) FROM sessions")
    [links] = await accounts.database.fetch("SELECT count(*) FROM link_tokens")
    assert (sessions["count"], links["count"]) == (1, 0)
