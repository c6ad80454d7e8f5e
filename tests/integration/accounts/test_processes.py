"""Accounts as real processes: tokens travel, and a suspension heard over the broker ends them everywhere."""

from __future__ import annotations

import asyncio
import time

import httpx2
import pytest

from careforall.launch.servers import Nats
from careforall_testing.platform import client_of, platform
from careforall_testing.servers import ServerUrls

PASSWORD = "quiet harbour lamp"


async def login(client: httpx2.AsyncClient, mail: str) -> dict[str, str]:
    answer = await client.post("/api/v1/auth/login", json={"email": mail, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return {"authorization": f"Bearer {answer.json()['access_token']}"}


@pytest.mark.timeout(120)
async def test_a_suspension_ends_tokens_in_every_process(servers: ServerUrls, own_nats: Nats) -> None:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, ["accounts"]) as running:
        made = await running.cli("admin", "create", "--email", "admin1@example.org", "--password", PASSWORD)
        assert made.status == 0, made.err
        other = await running.serve(["accounts"], role="api")
        async with client_of(other.url) as elsewhere:
            admin = await login(running.client, "admin1@example.org")
            user = await running.client.post("/api/v1/auth/signup", json={"email": "donor1@example.org", "password": PASSWORD})
            token = await login(running.client, "donor1@example.org")
            assert (await elsewhere.get("/api/v1/users/me", headers=token)).status_code == 200

            path = f"/api/v1/users/{user.json()['id']}"
            assert (await running.client.patch(path, json={"status": "SUSPENDED"}, headers=admin)).status_code == 200

            assert (await running.client.get("/api/v1/users/me", headers=token)).status_code == 401
            deadline = time.monotonic() + 10
            while (await elsewhere.get("/api/v1/users/me", headers=token)).status_code != 401:
                assert time.monotonic() < deadline, "the other process still accepts the token"
                await asyncio.sleep(0.02)
            assert (await elsewhere.get("/api/v1/users/me", headers=admin)).status_code == 200
            assert "accounts" in (await elsewhere.get("/openapi.json")).text
