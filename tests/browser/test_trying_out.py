"""A gift, given by trying the call out in the documentation as it stands there."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, expect

from careforall.launch.servers import Nats
from careforall_testing.giving import GivingHouse, giving_house
from careforall_testing.servers import ServerUrls

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module", name="house")
async def fx_house(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[GivingHouse]:
    async with giving_house(ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)) as found:
        yield found


async def test_the_example_of_a_gift_is_taken_as_it_stands(house: GivingHouse, browser: Browser) -> None:
    campaign = await house.campaign()
    page = await browser.new_page()
    await page.goto(f"{house.running.first.url}/docs", wait_until="networkidle")
    call = page.locator(".opblock-post", has=page.get_by_text("/api/v1/donations", exact=True)).first
    await call.locator(".opblock-summary-control").click()
    await expect(call.locator(".opblock-description")).to_contain_text("201 means it is stored for good")
    await call.get_by_role("button", name="Try it out").click()
    await call.get_by_role("button", name="Execute").click()
    await expect(call.locator(".live-responses-table .response-col_status").last).to_contain_text("201")
    await expect(call.locator(".live-responses-table")).to_contain_text(campaign["id"])
