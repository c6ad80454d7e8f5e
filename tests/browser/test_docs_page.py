"""The start page, the API documentation and the list of problems, in a real browser, with nothing loaded from outside."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from careforall.launch.servers import Nats
from careforall_testing.platform import Platform, platform
from careforall_testing.servers import ServerUrls

pytestmark = pytest.mark.browser


class Visit:
    """A page together with everything it complained about and everything it asked for."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.hosts: set[str] = set()
        self._url = url
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("requestfailed", lambda request: self.complaints.append(f"failed: {request.url}"))
        page.on("request", lambda request: self.hosts.add(urlsplit(request.url).netloc))

    async def go(self, path: str) -> None:
        """Open a path and wait until everything it needs has come."""
        answer = await self.page.goto(self._url + path, wait_until="networkidle")
        assert answer is not None
        assert answer.ok, f"{path}: {answer.status}"

    def assert_clean(self) -> None:
        """Nothing failed, and nothing but this platform was asked."""
        assert self.complaints == []
        assert self.hosts - {""} == {urlsplit(self._url).netloc}

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)


@pytest.fixture(scope="module", name="running")
async def fx_running(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Platform]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, ["donations"]) as running:
        yield running


@pytest.fixture(name="visit")
async def fx_visit(running: Platform, browser: Browser) -> Visit:
    return Visit(await browser.new_page(), running.first.url)


async def test_the_start_page_leads_to_what_is_there(visit: Visit) -> None:
    await visit.go("/")
    await expect(visit.page.get_by_role("heading", name="CareForAll")).to_be_visible()
    addresses = await visit.page.locator(".links a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    assert {"/docs", "/docs/problems", "/health"} <= set(addresses)
    for address in addresses:
        await visit.go(address)
        if address == "/docs":  # it asks once more when it has read the description, and leaving would break that off
            await expect(visit.page.locator(".opblock").first).to_be_visible()
    visit.assert_clean()


async def test_the_api_can_be_read_and_tried_offline(visit: Visit) -> None:
    await visit.go("/docs")
    call = visit.page.locator(".opblock", has=visit.page.get_by_text("/api/v1/campaigns", exact=True)).first
    await call.locator(".opblock-summary-control").click()
    await call.get_by_role("button", name="Try it out").click()
    await call.get_by_role("button", name="Execute").click()
    await expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    visit.assert_clean()


async def test_the_api_is_read_on_a_phone_and_by_landmarks(visit: Visit) -> None:
    await visit.page.set_viewport_size({"width": 320, "height": 700})
    await visit.go("/docs")
    page = visit.page
    path = page.locator(".opblock-summary-path").first
    assert await path.evaluate("path => path.offsetHeight < 3 * parseFloat(getComputedStyle(path).fontSize)")
    assert await page.locator("html").evaluate("page => page.scrollWidth") == 320
    await expect(page.locator("main")).to_have_count(1)
    await expect(page.get_by_role("combobox", name="Server")).to_be_visible()
    visit.assert_clean()


async def test_a_problem_document_links_to_its_explanation(visit: Visit, running: Platform) -> None:
    problem = (await running.client.get("/api/v1/campaigns/none")).json()
    await visit.go(problem["type"])
    await expect(visit.page.locator("tr:target")).to_contain_text(re.compile(rf"{problem['code']}.*{problem['status']}"))
    visit.assert_clean()


async def test_files_are_kept_by_browsers_for_as_long_as_they_stay_the_same(running: Platform) -> None:
    page = (await running.client.get("/docs")).text
    named = re.findall(r'(?:src|href)="(/docs/assets/[^"]+)"', page)
    assert len(named) >= 4
    for address in named:
        kept = await running.client.get(address)
        assert kept.headers["cache-control"] == "public, max-age=31536000, immutable"
        unnamed = await running.client.get(address.partition("?")[0])
        assert (unnamed.headers["cache-control"], unnamed.content) == ("no-cache", kept.content)


async def test_the_policy_lets_nothing_in_from_outside(running: Platform) -> None:
    policy = (await running.client.get("/docs")).headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "http" not in policy


@pytest.mark.parametrize("name", ["README.md", "swagger-ui.LICENSE", "..%2Fdocs.py", "none.js"])
async def test_only_files_for_browsers_are_served(running: Platform, name: str) -> None:
    assert (await running.client.get(f"/docs/assets/{name}")).status_code == 404
