"""What integrators may do over HTTP, against a real process: who may, what is refused, and what of it all leaves the platform."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import nats
import pytest
from msgspec import Struct
from nats.aio.msg import Msg

from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.public_events import PERSON, gift, sealed
from careforall_testing.servers import ServerUrls, own_nats

EVENTS = "/api/v1/events"
KEYS = {
    "reader": Principal(user_id=new_id(), email="staff1@example.org", role="USER", scopes=("sync:read",), of_staff=True),
    "other": Principal(user_id=new_id(), email="staff1@example.org", role="USER", scopes=("donations:read",), of_staff=True),
    "left": Principal(user_id=new_id(), email="staff2@example.org", role="USER", scopes=("sync:read",)),
}
"""Keys by their text: one that may read events, one for another service, one whose owner is staff no more."""


class House(Struct, frozen=True, kw_only=True):
    """The sync service as a process, and somebody who signs tokens."""

    running: Platform
    callers: Callers

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        who = {} if {"X-API-Key", "Authorization"} & headers.keys() else self.callers.admin()
        sent = {"Content-Type": "application/json", **who, **headers}
        return await self.running.client.request(method, path, content=content, headers=sent)

    async def say(self, *events: Any) -> list[dict[str, Any]]:
        """Say events as donations would; return them as integrators see them."""
        client = await nats.connect(self.running.environment["CAREFORALL_NATS_URL"])
        try:
            said = [sealed(event) for event in events]
            for event, data in zip(events, said, strict=True):
                await client.jetstream().publish(event.SUBJECT, data)
        finally:
            await client.close()
        ids = {json.loads(data)["event_id"] for data in said}

        async def listed() -> list[dict[str, Any]]:
            found = [event for event in await self.events() if event["id"] in ids]
            return found if len(found) == len(ids) else []

        return await eventually(listed, within_s=20, what="the events are stored")

    async def events(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = (await self.ask("GET", f"{EVENTS}?limit=500{after}")).json()
            found += page["items"]
            after = f"&after={page['next_cursor']}"
            if not page["items"]:
                return found


def refused(answer: Any, status: int, code: str, pointer: str = "", field: str = "") -> None:
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document["code"]) == (status, code), answer.text
    if pointer:
        assert (pointer, field) in [(error["pointer"], error["code"]) for error in document["errors"]], answer.text


@pytest.fixture(scope="module")
def broker() -> Iterator[Nats]:
    with own_nats() as server:
        yield server


@pytest.fixture(scope="module")
async def house(servers: ServerUrls, broker: Nats) -> AsyncIterator[House]:
    urls = ServerUrls(postgres=servers.postgres, nats=broker.url, redis=servers.redis)
    client = await nats.connect(broker.url)

    async def owner(message: Msg) -> None:
        await message.respond(msgspec.json.encode(KEYS.get(message.data.decode())))

    async with platform(urls, databases_of=["sync"]) as running, signing_in(running) as callers:
        await client.subscribe(f"query.accounts.api_key.{running.instance}", cb=owner)
        await client.flush()
        await running.serve(["sync"])
        yield House(running=running, callers=callers)
    await client.close()


async def test_events_are_read_on_and_on_by_their_cursor(house: House) -> None:
    first = await house.say(gift(), gift())
    page = (await house.ask("GET", f"{EVENTS}?limit=500")).json()
    assert [event for event in page["items"] if event in first] == first
    nothing = (await house.ask("GET", f"{EVENTS}?after={page['next_cursor']}")).json()
    assert nothing == {"items": [], "next_cursor": page["next_cursor"]}
    later = await house.say(gift())
    more = (await house.ask("GET", f"{EVENTS}?after={nothing['next_cursor']}&type=donations.completed")).json()
    assert more["items"] == later
    assert (await house.ask("GET", f"{EVENTS}?after={more['next_cursor']}&type=campaigns.ended")).json()["items"] == []


async def test_nobody_s_mail_is_listed_or_kept(house: House) -> None:
    await house.say(gift())
    answer = await house.ask("GET", f"{EVENTS}?limit=500")
    for word in (PERSON, "Giver of the test", "donor", "intent"):
        assert word not in answer.text
    async with house.running.database("sync") as database:
        kept = await database.fetchval("SELECT string_agg(convert_from(body, 'UTF8'), '') FROM webhook_events")
    assert PERSON not in kept


async def test_staff_and_their_keys_for_this_may_read_events_and_nobody_else(house: House) -> None:
    assert (await house.ask("GET", EVENTS, **{"X-API-Key": "reader"})).status_code == 200
    refused(await house.running.client.get(EVENTS), 401, "unauthorized")
    refused(await house.ask("GET", EVENTS, **house.callers.user()), 403, "forbidden")
    refused(await house.ask("GET", EVENTS, **{"X-API-Key": "other"}), 403, "forbidden")
    refused(await house.ask("GET", EVENTS, **{"X-API-Key": "left"}), 403, "forbidden")
    refused(await house.ask("GET", EVENTS, **{"X-API-Key": "unknown"}), 401, "invalid_token")


@pytest.mark.parametrize(
    ("query", "status", "code", "pointer", "field"),
    [
        ("after=x", 422, "invalid_value", "/after", "invalid_cursor"),
        ("after=", 422, "invalid_value", "/after", "invalid_cursor"),
        ("after=AAAAAAAAAAAAAAAAAAAPQA", 410, "cursor_expired", "", ""),
        ("after=_____________________w", 410, "cursor_expired", "", ""),
        ("type=gifts.given", 422, "invalid_value", "/type/0", "unknown_event"),
        ("type=donations.completed&type=accounts.user_registered", 422, "invalid_value", "/type/1", "unknown_event"),
        ("limit=0", 422, "invalid_value", "/limit", "invalid_value"),
        ("limit=501", 422, "invalid_value", "/limit", "invalid_value"),
    ],
)
async def test_bad_questions_for_events_are_refused(
    house: House, query: str, status: int, code: str, pointer: str, field: str
) -> None:
    refused(await house.ask("GET", f"{EVENTS}?{query}"), status, code, pointer, field)
