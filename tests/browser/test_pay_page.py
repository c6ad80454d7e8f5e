"""The pay page while a gateway is awaited: it stays what people read and use until there is something else to say."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from msgspec import Struct
from playwright.async_api import Browser, Page, expect

from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.servers import ServerUrls

pytestmark = pytest.mark.browser

WAITING, ARRIVED = "Waiting for the gateway", "Thank you, your payment arrived"
PATIENCE = 30_000
"""Milliseconds: a webhook has to come first."""


class Till(Struct, frozen=True, kw_only=True):
    """Payments and the simulated gateway."""

    running: Platform
    callers: Callers
    inside: httpx2.AsyncClient

    async def waiting(self, **changes: Any) -> str:
        """Return the id of a payment whose payer has been at the gateway."""
        body = {"subject_type": "DONATION", "subject_id": str(new_id()), "amount": "25.00", "currency": "EUR", **changes}
        headers = {**self.callers.service("orders", "payments"), "Idempotency-Key": str(new_id())}
        answer = await self.inside.post("/api/v1/payments/intent", json=body, headers=headers)
        assert answer.status_code == 201, answer.text
        identifier = str(answer.json()["id"])
        assert (await self.running.client.post(f"/pay/{identifier}")).status_code == 303
        return identifier

    async def paid(self, identifier: str) -> None:
        """Have the gateway be paid."""
        answer = await self.running.client.post(f"/simulator/control/{identifier}/success", json={}, timeout=30)
        assert answer.status_code == 200, answer.text

    async def opened(self, page: Page, identifier: str) -> None:
        """Come back from the gateway."""
        await page.goto(f"{self.running.first.url}/pay/{identifier}?return=1")
        await expect(page.get_by_role("heading", name=WAITING)).to_be_visible()


@pytest.fixture(scope="module", name="till")
async def fx_till(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Till]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with (
        platform(urls, ["payments", "simulator"]) as running,
        signing_in(running) as callers,
        client_of(running.first.internal_url) as inside,
    ):
        yield Till(running=running, callers=callers, inside=inside)


async def test_looking_again_takes_nobody_from_where_they_are(till: Till, browser: Browser) -> None:
    identifier = await till.waiting()
    page = await browser.new_page()
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type in {"error", "warning"} else None)
    await till.opened(page, identifier)
    button = page.get_by_role("button", name="Go back to the gateway")
    await button.focus()
    for _ in range(2):
        async with page.expect_response(lambda answer: answer.ok):
            pass
    await expect(button).to_be_focused()

    await till.paid(identifier)
    await expect(page.get_by_role("heading", name=ARRIVED)).to_be_visible(timeout=PATIENCE)
    assert complaints == []


async def test_the_page_stays_while_the_network_is_away(till: Till, browser: Browser) -> None:
    identifier = await till.waiting()
    page = await browser.new_page()
    await till.opened(page, identifier)
    await page.context.set_offline(True)
    async with page.expect_event("requestfailed"):
        pass
    await expect(page.get_by_role("heading", name=WAITING)).to_be_visible()

    await till.paid(identifier)
    await page.context.set_offline(False)
    await expect(page.get_by_role("heading", name=ARRIVED)).to_be_visible(timeout=PATIENCE)


async def test_without_scripts_the_page_loads_itself_again(till: Till, browser: Browser) -> None:
    identifier = await till.waiting()
    page = await (await browser.new_context(java_script_enabled=False)).new_page()
    await till.opened(page, identifier)
    await till.paid(identifier)
    await expect(page.get_by_role("heading", name=ARRIVED)).to_be_visible(timeout=PATIENCE)
