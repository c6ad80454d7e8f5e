"""Pages in the colours that people have chosen for their system: light ones by day, dark ones by night."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Literal

import pytest
from playwright.async_api import Browser, Locator, expect

from careforall.launch.servers import Nats
from careforall_testing.platform import Platform, platform
from careforall_testing.servers import ServerUrls

pytestmark = pytest.mark.browser

PATHS = ("/", "/docs/problems", "/admin", "/mailbox", "/reset-password", "/pay/none", "/simulator", "/nowhere")
COLOUR = "([where, name]) => getComputedStyle(document.querySelector(where))[name]"
NOTICED = 3.0
"""The least contrast of what must be seen but not read, as WCAG has it."""
READ = 4.5
"""The least contrast of words."""
LIGHTNESS = "(shown, name) => Math.max(...getComputedStyle(shown)[name].match(/[0-9.]+/g).slice(0, 3).map(Number))"


@pytest.fixture(scope="module", name="running")
async def fx_running(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Platform]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_what_has_the_focus_stands_out(running: Platform, browser: Browser, scheme: Literal["light", "dark"]) -> None:
    page = await browser.new_page(color_scheme=scheme)
    for path in ("/", "/docs/problems", "/admin", "/mailbox", "/reset-password", "/nowhere"):
        await page.goto(running.first.url + path)
        await page.keyboard.press("Tab")
        ring = await page.evaluate(COLOUR, [":focus", "outlineColor"])
        assert contrast(ring, await page.evaluate(COLOUR, ["body", "backgroundColor"])) >= NOTICED, path


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_words_of_the_documentation_stand_out(
    running: Platform, browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    page = await browser.new_page(color_scheme=scheme)
    await page.goto(f"{running.first.url}/docs")
    await expect(page.locator(".opblock-tag").first).to_be_visible()
    for words, behind in ((".opblock-summary-method", ".opblock-summary-method"), (".url", "body"), (".authorize span", "body")):
        ink, paper = await page.evaluate(COLOUR, [words, "color"]), await page.evaluate(COLOUR, [behind, "backgroundColor"])
        assert contrast(ink, paper) >= READ, words


async def test_buttons_have_an_edge_where_the_system_forces_its_colours(running: Platform, browser: Browser) -> None:
    page = await browser.new_page(forced_colors="active")
    await page.goto(f"{running.first.url}/reset-password")
    edge, paper = [await page.evaluate(COLOUR, where) for where in (["button", "borderTopColor"], ["body", "backgroundColor"])]
    assert await page.locator("button").evaluate("button => getComputedStyle(button).borderTopWidth") == "2px"
    assert contrast(edge, paper) >= NOTICED


def contrast(one: str, other: str) -> float:
    """Return how much two colours differ in lightness, as WCAG reckons it: 1 to 21."""
    darker, lighter = sorted(map(_luminance, (one, other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = [float(part) / 255 for part in re.findall(r"[0-9.]+", colour)[:3]]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


async def _scheme(*, ink: Locator, paper: Locator) -> str:
    """Return which of the two is the darker one."""
    lightness = await ink.evaluate(LIGHTNESS, "color"), await paper.evaluate(LIGHTNESS, "backgroundColor")
    return "light" if lightness[0] < lightness[1] else "dark"
