"""Mailed links in a real browser: from the mail to the button, with nothing the policy refuses and no token passed on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, Request, expect

from careforall.launch.servers import Nats
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

pytestmark = pytest.mark.browser

PASSWORD = "quiet harbour lamp"
BUTTON_GREEN = "rgb(20, 83, 45)"


@pytest.fixture(scope="module", name="running")
async def fx_running(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Platform]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, ["accounts", "notifications"]) as running:
        yield running


async def test_a_mail_is_proved_from_the_mailbox_by_its_button(running: Platform, browser: Browser) -> None:
    await _sign_up(running, "donor1@example.org")
    page, complaints, referrers = await _watched(browser)
    await _open_mail(page, running, "donor1@example.org", "Please confirm your mail address")

    await page.get_by_role("link", name="/verify-email?token=").click()
    button = page.get_by_role("button", name="Confirm my address")
    await expect(button).to_have_css("background-color", BUTTON_GREEN)
    referrers.clear()
    await button.click()

    await expect(page.get_by_role("heading", name="Your e-mail address is confirmed")).to_be_visible()
    assert complaints == []
    assert not any("token" in referrer for referrer in referrers)


async def test_a_link_of_the_mail_as_html_opens_beside_it(running: Platform, browser: Browser) -> None:
    await _sign_up(running, "donor3@example.org")
    page, complaints, _ = await _watched(browser)
    await _open_mail(page, running, "donor3@example.org", "Please confirm your mail address")

    async with page.expect_popup() as opened:
        await page.frame_locator("iframe").get_by_role("link", name="Confirm my address").click()
    beside = await opened.value

    await beside.get_by_role("button", name="Confirm my address").click()
    await expect(beside.get_by_role("heading", name="Your e-mail address is confirmed")).to_be_visible()
    assert complaints == []


async def test_the_mailbox_fits_a_phone(running: Platform, browser: Browser) -> None:
    mail = f"{'d' * 60}@{'very-long-name.' * 6}example.org"
    await _sign_up(running, mail)
    page, _, _ = await _watched(browser)
    await page.set_viewport_size({"width": 360, "height": 700})
    await _open_mail(page, running, mail, "Please confirm your mail address")
    for address in (page.url, f"{running.first.url}/mailbox"):
        await page.goto(address)
        assert await page.locator("html").evaluate("page => page.scrollWidth") == 360


async def test_a_new_password_is_asked_for_and_set(running: Platform, browser: Browser) -> None:
    await _sign_up(running, "donor2@example.org")
    page, complaints, _ = await _watched(browser)
    await page.goto(f"{running.first.url}/reset-password")
    await page.get_by_label("E-mail address").fill("donor2@example.org")
    await page.get_by_role("button", name="Send a new link").click()
    await expect(page.get_by_role("heading", name="Please look into your mailbox")).to_be_visible()

    await _open_mail(page, running, "donor2@example.org", "Choose a new password")
    await page.get_by_role("link", name="/reset-password?token=").click()
    await page.get_by_label("New password").fill("another quiet lamp")
    await page.get_by_role("button", name="Set the new password").click()

    await expect(page.get_by_role("heading", name="Your new password is set")).to_be_visible()
    assert complaints == []
    login = {"email": "donor2@example.org", "password": "another quiet lamp"}
    assert (await running.client.post("/api/v1/auth/login", json=login)).status_code == 200


async def _sign_up(running: Platform, mail: str) -> None:
    answer = await running.client.post("/api/v1/auth/signup", json={"email": mail, "password": PASSWORD})
    assert answer.status_code == 201, answer.text


async def _watched(browser: Browser) -> tuple[Page, list[str], list[str]]:
    """A page without JavaScript, with what it complains about and what it tells of where it comes from."""
    page = await (await browser.new_context(java_script_enabled=False)).new_page()
    complaints: list[str] = []
    referrers: list[str] = []

    def asked(request: Request) -> None:
        referrers.append(request.headers.get("referer", ""))

    page.on("console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("request", asked)
    return page, complaints, referrers


async def _open_mail(page: Page, running: Platform, to: str, subject: str) -> None:
    async def arrived() -> bool:
        answer = await running.client.get("/mailbox/messages", params={"to": to})
        return subject in {mail["subject"] for mail in answer.json()["items"]}

    await eventually(arrived, what=f"mail {subject} to {to}")
    await page.goto(f"{running.first.url}/mailbox?to={to}")
    await page.get_by_role("link", name=subject).click()
