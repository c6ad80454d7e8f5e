"""The thin twins of a purchase's calls answer exactly as the framework does, which serves them where `hot_paths` is off."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from careforall.kit import secrets
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.platform import client_of, platform
from careforall_testing.servers import ServerUrls

INTENTS = "/simulator/v1/payment_intents"
TOLD = ("content-type", "idempotent-replayed", "retry-after", "www-authenticate")
BEFOREHAND: tuple[tuple[str, Any], ...] = (
    ("", {"amount": 0, "currency": "eur"}),
    ("", {"amount": 12.5, "currency": "eur"}),
    ("", {"amount": True, "currency": "eur"}),
    ("", {"amount": 1}),
    ("", {"amount": 1, "currency": "zzz"}),
    ("", {"amount": 1, "currency": "eur", "return_url": "javascript:alert(1)"}),
    ("", {"amount": 1, "currency": "eur", "metadata": {"a": 1}}),
    ("", {"amount": 1, "currency": "eur", "card_number": "4242424242424242"}),
    ("", []),
    ("", None),
    ("/pi_none/confirm", {"payment_method": "tok_ok"}),
    ("/pi_none/confirm", {"payment_method": "tok_unknown"}),
    ("/pi_none/confirm", {}),
    ("/pi_none/confirm", None),
    ("/pi_none/capture", {}),
    ("/pi_none/capture", None),
    ("/pi_none/capture", {"amount_to_capture": -1}),
    ("/pi_none/capture", {"amount": 1}),
    ("/%00/capture", {}),
    ("/%C3%A9/confirm", {"payment_method": "tok_ok"}),
    ("/a%2Fb/confirm", {"payment_method": "tok_ok"}),
    ("//confirm", {"payment_method": "tok_ok"}),
    ("/pi_none/confirm/", {"payment_method": "tok_ok"}),
)


class Twins(Struct, frozen=True, kw_only=True):
    """The same company behind hot routes and without them."""

    hot: httpx2.AsyncClient
    cold: httpx2.AsyncClient
    authorization: dict[str, str]

    async def post(self, client: httpx2.AsyncClient, path: str, body: object, **headers: str) -> httpx2.Response:
        content = {"json": body} if body is not None else {}
        return await client.post(f"{INTENTS}{path}", headers={**self.authorization, **headers}, **content)  # type: ignore[arg-type]

    async def both(self, path: str, body: object, *, keyed: bool = True, **headers: str) -> list[httpx2.Response]:
        """Ask both, each under a key of its own."""
        own = [{"Idempotency-Key": str(new_id())} if keyed else {} for _ in range(2)]
        clients = (self.hot, self.cold)
        return [await self.post(client, path, body, **key, **headers) for client, key in zip(clients, own, strict=True)]


@pytest.fixture(scope="module")
async def twins(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Twins]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    async with platform(urls, databases_of=["simulator"]) as running:
        hot = await running.serve(["simulator"], role="api", wait=False)
        cold = await running.serve(["simulator"], role="api", wait=False, CAREFORALL_HOT_PATHS="false")
        await hot.wait_ready()
        await cold.wait_ready()
        key = secrets.derive(running.environment["CAREFORALL_SECRET_KEY"], "simulator api key").hex()
        async with client_of(cold.url) as cold_client:
            yield Twins(hot=running.client, cold=cold_client, authorization={"Authorization": f"Bearer {key}"})


def seen(answer: httpx2.Response) -> tuple[int, bytes, dict[str, str]]:
    """What a caller is told, without what names this one call."""
    body = re.sub(rb'"request_id":"[^"]*"', b"", answer.content)
    return answer.status_code, body, {name: answer.headers[name] for name in TOLD if name in answer.headers}


@pytest.mark.parametrize(("path", "body"), BEFOREHAND)
async def test_refusals_are_the_same(twins: Twins, path: str, body: object) -> None:
    hot, cold = await twins.both(path, body)
    assert hot.status_code >= 400
    assert seen(hot) == seen(cold)


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer wrong"}, {"Idempotency-Key": "x" * 256}])
async def test_strangers_and_bad_keys_are_refused_the_same(twins: Twins, headers: dict[str, str]) -> None:
    hot, cold = await twins.both("", {"amount": 1, "currency": "eur"}, keyed=False, **headers)
    assert hot.status_code in {400, 401}
    assert seen(hot) == seen(cold)


async def test_a_call_without_a_key_is_refused_the_same(twins: Twins) -> None:
    hot, cold = await twins.both("", {"amount": 1, "currency": "eur"}, keyed=False)
    assert hot.json()["error"]["type"] == "idempotency_error"
    assert seen(hot) == seen(cold)


async def test_a_purchase_begun_by_one_is_repeated_by_the_other(twins: Twins) -> None:
    draft = {"amount": 2500, "currency": "eur", "capture_method": "manual", "metadata": {"intent_id": str(new_id())}}
    path = ""
    for verb, body in (("", draft), ("/confirm", {"payment_method": "tok_ok"}), ("/capture", None)):
        key = {"Idempotency-Key": str(new_id())}
        first = await twins.post(twins.hot, path + verb, body, **key)
        again = await twins.post(twins.cold, path + verb, body, **key)
        assert (first.status_code, first.content) == (again.status_code, again.content)
        assert again.headers["idempotent-replayed"] == "true"
        assert "idempotent-replayed" not in first.headers
        assert seen(await twins.post(twins.hot, path + verb, body, **key)) == seen(again)
        path = f"/{first.json()['id']}"
    assert first.json()["amount_received"] == 2500


async def test_hot_routes_are_counted_under_the_names_of_their_twins(twins: Twins) -> None:
    await twins.both("/pi_none/capture", {})
    for client in (twins.hot, twins.cold):
        counted = (await client.get("/metrics")).text
        assert f'endpoint="{INTENTS}/{{intent_id}}/capture"' in counted
