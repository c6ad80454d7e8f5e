"""A whole platform and the words tests speak about it: give, pay, look, wait.

async with running_platform() as journey:
    gift = await journey.completed_gift()
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from typing_extensions import override

from careforall.cli.registry import NAMES
from careforall.drills.visitor import Visitor
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerSet, own_servers

ADMIN = "admin@example.org"
PASSWORD = "correct horse battery staple 7"


class Journey(Visitor):
    """One running platform as a donor and an administrator use it."""

    def __init__(self, running: Platform, servers: ServerSet) -> None:
        secret = running.environment["CAREFORALL_WEBHOOK_SECRETS"].partition(",")[0]
        super().__init__(running.client, databases=running.databases, webhook_secret=secret)
        self.platform = running
        self.servers = servers

    async def begin(self) -> None:
        """Make the administrator and sign in."""
        made = await self.platform.cli("admin", "create", "--email", ADMIN, "--password", PASSWORD)
        assert made.status == 0, made.err
        await self.employ(ADMIN, PASSWORD)

    @override
    async def sign_in(self, email: str, password: str = PASSWORD) -> dict[str, str]:
        return await super().sign_in(email, password)

    async def sign_up(self, email: str) -> dict[str, str]:
        """Register somebody and sign in."""
        answer = await self.client.post("/api/v1/auth/signup", json={"email": email, "password": PASSWORD})
        assert answer.status_code in {201, 409}, answer.text
        return await self.sign_in(email)

    async def give(self, campaign: str, *, headers: Mapping[str, str] | None = None, **changes: Any) -> dict[str, Any]:
        """Give as a guest and return the answer."""
        body = self.gift_body(campaign, **changes)
        answer = await self.client.post("/api/v1/donations", json=body, headers=dict(headers or {}))
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def completed_gift(self, campaign: str | None = None, **changes: Any) -> dict[str, Any]:
        """Give, pay, and wait until the gift is complete."""
        gift = await self.give(campaign or await self.campaign(), **changes)
        await self.simulate("success", gift["payment_intent"]["id"])
        await self.donation_in(gift, "COMPLETED")
        return gift

    async def simulate(self, verb: str, intent: str, *words: str) -> str:
        """Drive the simulated gateway by the command line."""
        result = await self.platform.cli("simulate", verb, intent, *words)
        assert result.status == 0, result.out + result.err
        return result.out

    async def get(self, path: str, *, receipt: str) -> dict[str, Any]:
        """Read as the holder of a receipt token."""
        answer = await self.client.get(path, headers={"X-Receipt-Token": receipt})
        assert answer.status_code == 200, answer.text
        return {"value": answer.json()}

    async def as_admin(self, path: str) -> Any:
        """Read as the administrator."""
        answer = await self.client.get(path, headers=await self.staff())
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def donation(self, gift: Mapping[str, Any]) -> dict[str, Any]:
        """Return a gift as its giver sees it."""
        found: dict[str, Any] = (await self.get(f"/api/v1/donations/{gift['id']}", receipt=gift["receipt_token"]))["value"]
        return found

    async def donation_in(self, gift: Mapping[str, Any], status: str) -> dict[str, Any]:
        """Wait until a gift is in a state."""

        async def look() -> dict[str, Any] | None:
            found = await self.donation(gift)
            return found if found["status"] == status else None

        return await eventually(look, within_s=20, what=f"donation {status}")

    async def mailed(self, to: str, *subjects: str) -> list[str]:
        """Wait until somebody was sent mails with these subjects; the subjects of all mails to them."""

        async def look() -> list[str] | None:
            answer = await self.client.get("/mailbox/messages", params={"to": to})
            found = [str(mail["subject"]) for mail in answer.json()["items"]]
            return found if set(subjects) <= set(found) else None

        return await eventually(look, within_s=20, what=f"mails {subjects} to {to}")


@asynccontextmanager
async def running_platform(**variables: str) -> AsyncIterator[Journey]:
    """Run every service against servers of its own, one process for requests, one for the rest."""
    with own_servers() as servers:
        async with platform(servers.urls, databases_of=NAMES, **variables) as running:
            await running.serve(["all"], role="api")
            await running.serve(["all"], role="worker")
            journey = Journey(running, servers)
            await journey.begin()
            yield journey
