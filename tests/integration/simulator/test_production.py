"""In production there is no simulated gateway at all: nobody may pay there without money."""

from __future__ import annotations

import httpx2
import pytest

from careforall.kit import secrets
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.platform import platform
from careforall_testing.servers import ServerUrls


@pytest.mark.parametrize(("environment", "status"), [("production", 404), ("development", 200)])
async def test_only_a_development_instance_has_a_simulator(
    servers: ServerUrls, own_nats: Nats, environment: str, status: int
) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, ["simulator"], CAREFORALL_ENVIRONMENT=environment) as running:
        key = secrets.derive(running.environment["CAREFORALL_SECRET_KEY"], "simulator api key").hex()
        headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": str(new_id())}
        made = await running.client.post("/simulator/v1/payment_intents", json={"amount": 1, "currency": "eur"}, headers=headers)
        doors: list[httpx2.Response] = [made, await running.client.get("/simulator")]
        doors.append(await running.client.post("/simulator/control/switches", json={}))
        doors.append(await running.client.get("/simulator/control/switches"))
        assert [door.status_code for door in doors] == [status] * 4
