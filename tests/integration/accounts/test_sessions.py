"""Signing in and staying signed in: equal answers, rotation, reuse, suspension, limits."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import pytest

MAIL = "donor1@example.org"
PASSWORD = "quiet harbour lamp"


def code(answer: Any) -> str:
    return str(answer.json()["code"])


async def test_a_login_answers_with_the_promised_fields(accounts: Any) -> None:
    await accounts.signup()

    body = await accounts.login()

    assert set(body) == {"access_token", "token_type", "expires_in", "refresh_token", "role"}
    assert (body["token_type"], body["expires_in"], body["role"]) == ("bearer", 600, "USER")
    me = await accounts.call("GET", "/users/me", token=body["access_token"])
    assert (me.status_code, me.json()["email"]) == (200, MAIL)


async def test_unknown_mail_and_wrong_password_get_equal_answers(accounts: Any) -> None:
    await accounts.signup()

    unknown = await accounts.post("/auth/login", {"email": "donor2@example.org", "password": PASSWORD})
    wrong = await accounts.post("/auth/login", {"email": MAIL, "password": "not my password"})

    first, second = unknown.json(), wrong.json()
    assert unknown.status_code == wrong.status_code == 401
    assert first.pop("request_id") != second.pop("request_id")
    assert first == second
    assert first["code"] == "invalid_credentials"
    hidden = {"x-request-id", "ratelimit"}
    assert {k: v for k, v in unknown.headers.items() if k not in hidden} == {
        k: v for k, v in wrong.headers.items() if k not in hidden
    }


async def test_unknown_mails_cost_a_whole_password_check(accounts: Any) -> None:
    await accounts.signup()

    async def timed(mail: str) -> float:
        started = time.perf_counter()
        await accounts.post("/auth/login", {"email": mail, "password": "not my password"})
        return time.perf_counter() - started

    known, unknown = [], []
    for _ in range(9):
        known.append(await timed(MAIL))
        unknown.append(await timed("donor2@example.org"))
    assert statistics.median(unknown) > statistics.median(known) / 3


@pytest.mark.parametrize("mail", ["donor1@example.org\u0000", "", "not a mail", "x" * 320])
async def test_a_login_with_a_mail_nobody_can_have_is_just_wrong(accounts: Any, mail: str) -> None:
    answer = await accounts.post("/auth/login", {"email": mail, "password": PASSWORD})
    assert (answer.status_code, code(answer)) == (401, "invalid_credentials")


async def test_a_refresh_rotates(accounts: Any) -> None:
    await accounts.signup()
    first = await accounts.login()

    second = await accounts.post("/auth/refresh", {"refresh_token": first["refresh_token"]})
    third = await accounts.post("/auth/refresh", {"refresh_token": second.json()["refresh_token"]})

    assert (second.status_code, third.status_code) == (200, 200)
    tokens = {first["refresh_token"], second.json()["refresh_token"], third.json()["refresh_token"]}
    assert len(tokens) == 3
    rows = await accounts.database.fetch("SELECT token_hash FROM refresh_tokens")
    assert len(rows) == 3
    assert not any(token.encode() in row["token_hash"] for token in tokens for row in rows)


async def test_reuse_of_an_old_refresh_token_revokes_its_family(accounts: Any) -> None:
    await accounts.signup()
    other = await accounts.login()
    first = (await accounts.login())["refresh_token"]
    second = (await accounts.post("/auth/refresh", {"refresh_token": first})).json()["refresh_token"]
    third = (await accounts.post("/auth/refresh", {"refresh_token": second})).json()["refresh_token"]

    stolen = await accounts.post("/auth/refresh", {"refresh_token": first})
    victim = await accounts.post("/auth/refresh", {"refresh_token": third})
    elsewhere = await accounts.post("/auth/refresh", {"refresh_token": other["refresh_token"]})

    assert (stolen.status_code, code(stolen)) == (401, "invalid_refresh_token")
    assert (victim.status_code, code(victim)) == (401, "invalid_refresh_token")
    assert elsewhere.status_code == 200
    [ended] = await accounts.database.fetch("SELECT end_reason FROM sessions WHERE ended_at IS NOT NULL")
    assert ended["end_reason"] == "REUSE"


async def test_a_lost_answer_is_given_again_within_the_grace(accounts: Any) -> None:
    await accounts.signup()
    first = (await accounts.login())["refresh_token"]

    lost = await accounts.post("/auth/refresh", {"refresh_token": first})
    again = await accounts.post("/auth/refresh", {"refresh_token": first})

    assert (lost.status_code, again.status_code) == (200, 200)
    assert again.json()["refresh_token"] == lost.json()["refresh_token"]


async def test_after_the_grace_a_repeat_is_reuse(accounts: Any) -> None:
    await accounts.signup()
    first = (await accounts.login())["refresh_token"]
    second = (await accounts.post("/auth/refresh", {"refresh_token": first})).json()["refresh_token"]
    await accounts.execute("UPDATE refresh_tokens SET used_at = used_at - interval '11 seconds' WHERE used_at IS NOT NULL")

    late = await accounts.post("/auth/refresh", {"refresh_token": first})
    successor = await accounts.post("/auth/refresh", {"refresh_token": second})

    assert (late.status_code, successor.status_code) == (401, 401)


async def test_parallel_refreshes_of_one_token_agree_on_one_successor(accounts: Any) -> None:
    await accounts.signup()
    token = (await accounts.login())["refresh_token"]

    answers = await asyncio.gather(*(accounts.post("/auth/refresh", {"refresh_token": token}) for _ in range(4)))

    assert [answer.status_code for answer in answers] == [200] * 4
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1


async def test_an_idle_refresh_token_ends(accounts: Any) -> None:
    await accounts.signup()
    token = (await accounts.login())["refresh_token"]
    [row] = await accounts.database.fetch("SELECT expires_at - clock_timestamp() AS left FROM refresh_tokens")
    assert 86_000 < row["left"].total_seconds() <= 86_400
    await accounts.execute("UPDATE refresh_tokens SET expires_at = clock_timestamp()")

    answer = await accounts.post("/auth/refresh", {"refresh_token": token})

    assert (answer.status_code, code(answer)) == (401, "invalid_refresh_token")


async def test_logout_ends_the_session(accounts: Any) -> None:
    await accounts.signup()
    tokens = await accounts.login()

    out = await accounts.post("/auth/logout", {"refresh_token": tokens["refresh_token"]})
    after = await accounts.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})

    assert (out.status_code, after.status_code) == (204, 401)


async def test_logout_without_a_refresh_token_ends_all_sessions(accounts: Any) -> None:
    await accounts.signup()
    first, second = await accounts.login(), await accounts.login()

    out = await accounts.post("/auth/logout", token=first["access_token"])
    after = [await accounts.post("/auth/refresh", {"refresh_token": one["refresh_token"]}) for one in (first, second)]
    nobody = await accounts.post("/auth/logout")

    assert out.status_code == 204
    assert [answer.status_code for answer in after] == [401, 401]
    assert nobody.status_code == 401


async def test_suspension_ends_tokens_sessions_and_logins_and_is_told(accounts: Any) -> None:
    admin = await accounts.admin()
    user = await accounts.signup()
    tokens = await accounts.login()

    patched = await accounts.call("PATCH", f"/users/{user['id']}", {"status": "SUSPENDED"}, token=admin)

    assert (patched.status_code, patched.json()["status"]) == (200, "SUSPENDED")
    assert (await accounts.call("GET", "/users/me", token=tokens["access_token"])).status_code == 401
    assert (await accounts.post("/auth/refresh", {"refresh_token": tokens["refresh_token"]})).status_code == 401
    login = await accounts.post("/auth/login", {"email": MAIL, "password": PASSWORD})
    assert (login.status_code, code(login)) == (403, "account_suspended")
    wrong = await accounts.post("/auth/login", {"email": MAIL, "password": "not my password"})
    assert (wrong.status_code, code(wrong)) == (401, "invalid_credentials")
    [(envelope, event)] = await accounts.events("accounts.user_suspended")
    assert event == {"user_id": user["id"], "reason": "SUSPENDED"}
    assert (str(envelope.aggregate_id), envelope.aggregate_version) == (user["id"], patched.json()["version"])

    back = await accounts.call("PATCH", f"/users/{user['id']}", {"status": "ACTIVE"}, token=admin)
    assert back.status_code == 200
    assert (await accounts.login())["role"] == "USER"
    assert len(await accounts.events("accounts.user_suspended")) == 1


async def test_a_deleted_account_looks_unknown(accounts: Any) -> None:
    admin = await accounts.admin()
    user = await accounts.signup()
    await accounts.call("PATCH", f"/users/{user['id']}", {"status": "DELETED"}, token=admin)

    login = await accounts.post("/auth/login", {"email": MAIL, "password": PASSWORD})

    assert (login.status_code, code(login)) == (401, "invalid_credentials")


async def test_an_old_hash_is_renewed_at_login(accounts: Any) -> None:
    import argon2  # noqa: PLC0415 - only this test makes a weaker hash

    await accounts.signup()
    weak = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
    await accounts.execute("UPDATE users SET password_hash = $1", weak)

    await accounts.login()

    [row] = await accounts.database.fetch("SELECT password_hash FROM users")
    assert row["password_hash"].startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    await accounts.login()


@pytest.mark.parametrize("options", [{"rate_login": 3}])
async def test_logins_are_limited_by_account_and_address(accounts: Any) -> None:
    answers = [await accounts.post("/auth/login", {"email": MAIL, "password": "not my password"}) for _ in range(4)]

    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert code(answers[-1]) == "rate_limited"


@pytest.mark.parametrize("options", [{"rate_login": 3}])
async def test_an_account_is_limited_whatever_the_address(accounts: Any) -> None:
    sessions = accounts.service.sessions
    outcomes = []
    for host in range(4):
        try:
            await sessions.login(MAIL, "not my password", client=f"192.0.2.{host}")
        except Exception as error:  # noqa: BLE001 - the kind of refusal is what is asked
            outcomes.append(getattr(error, "code", "?"))
    assert outcomes == ["invalid_credentials"] * 3 + ["rate_limited"]


@pytest.mark.parametrize("options", [{"rate_login": 3, "redis_url": "redis://127.0.0.1:1/0"}])
async def test_logins_stay_limited_while_redis_is_away(accounts: Any) -> None:
    answers = [await accounts.post("/auth/login", {"email": MAIL, "password": "not my password"}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [401, 401, 401, 429]


@pytest.mark.parametrize("options", [{"rate_login": 3}])
@pytest.mark.parametrize("spent", ["/auth/login", "/auth/password/forgot", "/auth/verify-email"])
async def test_who_uses_up_one_limit_of_a_mail_leaves_the_others(accounts: Any, spent: str) -> None:
    await accounts.signup()
    bodies = {
        "/auth/login": {"email": MAIL, "password": PASSWORD},
        "/auth/password/forgot": {"email": MAIL},
        "/auth/verify-email": {"email": MAIL},
    }
    wrong = bodies[spent] | ({"password": "not my password"} if spent == "/auth/login" else {})

    refused = [await accounts.post(spent, wrong) for _ in range(4)][-1]
    others = {path: await accounts.post(path, body) for path, body in bodies.items() if path != spent}

    assert (refused.status_code, code(refused)) == (429, "rate_limited")
    assert {path: answer.is_success for path, answer in others.items()} == dict.fromkeys(others, True)


@pytest.mark.parametrize("options", [{"rate_login": 3}])
async def test_wishes_for_a_new_password_stay_limited(accounts: Any) -> None:
    answers = [await accounts.post("/auth/password/forgot", {"email": MAIL}) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [202, 202, 202, 429]


@pytest.mark.parametrize("options", [{"password_workers": 1, "password_queue": 1}])
async def test_a_full_queue_of_password_checks_is_refused_at_once(accounts: Any) -> None:
    await accounts.signup()
    tries = (accounts.post("/auth/login", {"email": MAIL, "password": PASSWORD}) for _ in range(8))

    answers = await asyncio.gather(*tries)

    statuses = sorted(answer.status_code for answer in answers)
    assert set(statuses) == {200, 429}
    busy = next(answer for answer in answers if answer.status_code == 429)
    assert (code(busy), busy.headers["retry-after"]) == ("passwords_busy", "1")


async def test_a_cart_sent_with_a_login_is_announced_and_nothing_else_is(accounts: Any) -> None:
    await accounts.signup()
    cart = "5f0c2b2e-8a51-4c3e-9d3f-0d6f3b1a7c42"
    sent = ((PASSWORD, cart, 200), (PASSWORD, "no id", 200), ("not my password", cart, 401))
    for password, header, status in sent:
        answer = await accounts.post("/auth/login", {"email": MAIL, "password": password}, x_cart_id=header)
        assert answer.status_code == status
    await accounts.login()

    [(envelope, event)] = await accounts.events("accounts.signed_in")
    assert (event["guest_cart_id"], event["user_id"]) == (cart, str(envelope.aggregate_id))
