"""Mailed links lead somewhere: a person without any program of their own proves a mail and sets a new password."""

from __future__ import annotations

import re

from careforall_testing.journey import PASSWORD, Journey
from careforall_testing.polling import eventually

NEW_PASSWORD = "another quiet lamp"


async def test_the_link_of_the_welcome_proves_the_mail(journey: Journey) -> None:
    mail = "newcomer1@example.org"
    member = await journey.sign_up(mail)
    link = await _link(journey, mail, "Please confirm your mail address")

    page = (await journey.client.get(link)).text
    assert (await _is_verified(journey, member)) is False
    action, fields = _form(page)
    done = await journey.client.post(action, data=fields)

    assert (done.status_code, "Your e-mail address is confirmed" in done.text) == (200, True)
    assert (await _is_verified(journey, member)) is True
    await _is_logged_without_token(journey, "/verify-email", link)


async def test_the_link_of_a_reset_sets_the_password(journey: Journey) -> None:
    mail = "newcomer2@example.org"
    await journey.sign_up(mail)
    asked = await journey.client.post("/reset-password", data={"email": mail})
    assert asked.status_code == 202
    link = await _link(journey, mail, "Choose a new password")

    action, fields = _form((await journey.client.get(link)).text)
    done = await journey.client.post(action, data={**fields, "password": NEW_PASSWORD})

    assert (done.status_code, "Your new password is set" in done.text) == (200, True)
    old = await journey.client.post("/api/v1/auth/login", json={"email": mail, "password": PASSWORD})
    assert old.status_code == 401
    assert await _is_verified(journey, await journey.sign_in(mail, NEW_PASSWORD))
    await _is_logged_without_token(journey, "/reset-password", link)


async def _link(journey: Journey, to: str, subject: str) -> str:
    """The address in the newest mail with a subject."""
    await journey.mailed(to, subject)
    answer = await journey.client.get("/mailbox/messages", params={"to": to})
    text = next(mail["text"] for mail in answer.json()["items"] if mail["subject"] == subject)
    [found] = re.findall(r"^http\S+$", text, flags=re.MULTILINE)
    assert found.startswith(journey.platform.first.url)
    return str(found)


def _form(page: str) -> tuple[str, dict[str, str]]:
    """Where the form of a page goes, and its hidden fields."""
    [action] = re.findall(r'<form method="post" action="([^"]+)">', page)
    return action, dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]+)">', page))


async def _is_verified(journey: Journey, member: dict[str, str]) -> bool:
    verified: bool = (await journey.client.get("/api/v1/users/me", headers=member)).json()["email_verified"]
    return verified


async def _is_logged_without_token(journey: Journey, path: str, link: str) -> None:
    """Neither the request log nor a trace holds what is in the address."""

    async def logged() -> bool:
        return f'"path":"{path}"' in journey.platform.first.log_text()

    await eventually(logged, what="request log")
    traces = (await journey.client.get("/api/v1/admin/traces", headers=journey.admin)).text
    token = link.partition("token=")[2]
    assert not any(token in written for written in (traces, *(one.log_text() for one in journey.platform.processes)))
