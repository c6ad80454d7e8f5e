"""Pages in the colours that people have chosen for their system: light ones by day, dark ones by night."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Literal

import pytest
from playwright.async_api import Browser, Locator, expect

from careforall_testing.platform import Platform, platform
from careforall_testing.servers import ServerUrls, own_nats

pytestmark = pytest.mark.browser

PATHS = ("/", "/docs/problems", "/admin", "/mailbox", "/reset-password", "/pay/none", "/simulator", "/nowhere")
LIGHTNESS = "(shown, name) => Math.max(...getComputedStyle(shown)[name].match(/[0-9.]+/g).slice(0, 3).map(Number))"


@pytest.fixture(scope="module", name="running")
async def fx_running(servers: ServerUrls) -> AsyncIterator[Platform]:
    with own_nats() as broker:
        urls = ServerUrls(postgres=servers.postgres, nats=broker.url, redis=servers.redis)
        async with platform(urls, ["accounts", "payments", "notifications", "simulator"]) as running:
            yield running


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_follows_the_system(running: Platform, browser: Browser, scheme: Literal["light", "dark"]) -> None:
    page = await browser.new_page(color_scheme=scheme)
    for path in PATHS:
        await page.goto(running.first.url + path)
        body = page.locator("body")
        assert await _scheme(ink=body, paper=body) == scheme, path
    await page.goto(f"{running.first.url}/docs")
    await expect(page.locator(".opblock-tag").first).to_be_visible()
    assert await _scheme(ink=page.locator("#api .swagger-ui"), paper=page.locator("body")) == scheme


async def test_the_documentation_changes_with_the_system(running: Platform, browser: Browser) -> None:
    page = await browser.new_page(color_scheme="light")
    await page.goto(f"{running.first.url}/docs")
    await expect(page.locator(".opblock-tag").first).to_be_visible()
    await page.emulate_media(color_scheme="dark")
    await expect(page.locator("html")).to_have_class("dark-mode")


async def _scheme(*, ink: Locator, paper: Locator) -> str:
    """Return which of the two is the darker one."""
    lightness = await ink.evaluate(LIGHTNESS, "color"), await paper.evaluate(LIGHTNESS, "backgroundColor")
    return "light" if lightness[0] < lightness[1] else "dark"
