"""What integrators may do over HTTP, against a real process: who may, what is refused, and what of it all leaves the platform."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import msgspec
import nats
import pytest
from msgspec import Struct
from nats.aio.msg import Msg

from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.hook_receiver import Receiver, receiving
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.public_events import PERSON, campaign, gift, sealed
from careforall_testing.servers import ServerUrls, own_nats

EVENTS = "/api/v1/events"
HOOKS = "/api/v1/webhook-endpoints"
CUSTOMERS = "/api/v1/customers"
TABLES = ("webhook_endpoints", "webhook_secrets", "webhook_wants", "webhook_deliveries", "outbox", "idempotency_keys")
KEYS = {
    "reader": Principal(user_id=new_id(), email="staff1@example.org", role="USER", scopes=("sync:read",), of_staff=True),
    "writer": Principal(user_id=new_id(), email="staff1@example.org", role="USER", scopes=("sync:write",), of_staff=True),
    "other": Principal(user_id=new_id(), email="staff1@example.org", role="USER", scopes=("donations:read",), of_staff=True),
    "left": Principal(user_id=new_id(), email="staff2@example.org", role="USER", scopes=("sync:read",)),
}
"""Keys by their text: one that may read, one that may write, one for another service, one whose owner is staff no more."""


class House(Struct, frozen=True, kw_only=True):
    """The sync service as a process, and somebody who signs tokens."""

    running: Platform
    callers: Callers
    strict: httpx2.AsyncClient
    """Asks a process that calls public addresses alone."""

    async def made(self, receiver: Receiver, *types: str, **headers: str) -> dict[str, Any]:
        """Make an endpoint that hears of everything, or of the given types."""
        answer = await self.ask("POST", HOOKS, {"url": receiver.url, "event_types": list(types) or ["*"]}, **headers)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def stored(self) -> dict[str, int]:
        async with self.running.database("sync") as database:
            return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}

    async def delivered(self, endpoint: dict[str, Any], **wanted: Any) -> list[dict[str, Any]]:
        """The deliveries to an endpoint, once the newest is as wanted."""

        async def found() -> list[dict[str, Any]]:
            items: list[dict[str, Any]] = (await self.ask("GET", f"{HOOKS}/{endpoint['id']}/deliveries")).json()["items"]
            return items if items and all(items[0][name] == value for name, value in wanted.items()) else []

        return await eventually(found, within_s=20, what=f"a delivery with {wanted}")

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

    variables = {
        "CAREFORALL_WEBHOOK_ALLOW_PRIVATE": "true",
        "CAREFORALL_WEBHOOK_PAUSES": "0.1,0.1",
        "CAREFORALL_WEBHOOK_SECONDS": "2",
    }
    async with platform(urls, databases_of=["sync"], **variables) as running, signing_in(running) as callers:
        await client.subscribe(f"query.accounts.api_key.{running.instance}", cb=owner)
        await client.flush()
        await running.serve(["sync"])
        strict = await running.serve(["sync"], role="api", CAREFORALL_WEBHOOK_ALLOW_PRIVATE="false")
        async with client_of(strict.url) as asking:
            yield House(running=running, callers=callers, strict=asking)
    await client.close()


@pytest.fixture
async def receiver(house: House) -> AsyncIterator[Receiver]:
    """An endpoint of somebody; afterwards nobody hears anything any more."""
    async with receiving() as found:
        yield found
        for one in (await house.ask("GET", f"{HOOKS}?limit=100")).json()["items"]:
            await house.ask("DELETE", f"{HOOKS}/{one['id']}")


async def test_events_are_read_on_and_on_by_their_cursor(house: House) -> None:
    first = await house.say(gift(), gift())
    page = (await house.ask("GET", f"{EVENTS}?limit=500")).json()
    assert [event for event in page["items"] if event in first] == first
    nothing = (await house.ask("GET", f"{EVENTS}?after={page['next_cursor']}")).json()
    assert nothing == {"items": [], "next_cursor": page["next_cursor"]}
    later = await house.say(gift())
    assert (await house.ask("GET", f"{EVENTS}?cursor={nothing['next_cursor']}")).json()["items"] == later
    refused(await house.ask("GET", f"{EVENTS}?cursor=x"), 422, "invalid_value")
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


async def test_an_endpoint_from_first_to_last(house: House, receiver: Receiver) -> None:
    made = await house.made(receiver, "donations.completed", "donations.completed", "campaigns.updated")
    assert made["secret"].startswith("whsec_")
    assert (made["event_types"], made["enabled"], made["version"]) == (["campaigns.updated", "donations.completed"], True, 1)
    shown = await house.ask("GET", f"{HOOKS}/{made['id']}")
    assert (shown.headers["etag"], "secret" in shown.json()) == ('"1"', False)
    (event,) = await house.say(gift())
    (delivery,) = await house.delivered(made, status="PROCESSED")
    assert (delivery["event_id"], delivery["attempts"], delivery["last_status_code"], delivery["last_error"]) == (
        event["id"],
        1,
        204,
        None,
    )
    (post,) = receiver.posts
    assert (post.event, post.signed_by(made["secret"])) == (event, True)
    changed = await house.ask(
        "PATCH", f"{HOOKS}/{made['id']}", {"event_types": ["*"], "description": "Hall"}, **{"If-Match": '"1"'}
    )
    assert (changed.json()["event_types"], changed.json()["description"], changed.json()["version"]) == (["*"], "Hall", 2)
    refused(await house.ask("PATCH", f"{HOOKS}/{made['id']}", {"version": 1, "enabled": False}), 409, "version_conflict")
    listed = (await house.ask("GET", f"{HOOKS}?limit=1")).json()
    assert [one["id"] for one in listed["items"]] == [made["id"]]
    assert (await house.ask("DELETE", f"{HOOKS}/{made['id']}")).status_code == 204
    for method, path, body in ROUTES:
        gone = await house.ask(method, path.format(made["id"], new_id()), body)
        refused(gone, 404, "webhook_endpoint_not_found")


async def test_keys_of_staff_keep_customers_as_far_as_their_scopes_go(house: House) -> None:
    new = {"email": f"{new_id().hex}@example.org"}
    made = await house.ask("POST", CUSTOMERS, new, **{"X-API-Key": "writer", "Idempotency-Key": new_id().hex})
    assert made.status_code == 201, made.text
    assert (await house.ask("GET", f"{CUSTOMERS}/{made.json()['id']}", **{"X-API-Key": "reader"})).status_code == 200
    refused(await house.ask("POST", CUSTOMERS, new, **{"X-API-Key": "reader"}), 403, "forbidden")
    refused(await house.ask("GET", CUSTOMERS, **{"X-API-Key": "other"}), 403, "forbidden")
    refused(await house.ask("GET", CUSTOMERS, **{"X-API-Key": "left"}), 403, "forbidden")


ROUTES: list[tuple[str, str, Any]] = [
    ("GET", HOOKS + "/{}", None),
    ("PATCH", HOOKS + "/{}", {"description": "x"}),
    ("DELETE", HOOKS + "/{}", None),
    ("POST", HOOKS + "/{}/secret", {}),
    ("POST", HOOKS + "/{}/test", None),
    ("GET", HOOKS + "/{}/deliveries", None),
    ("POST", HOOKS + "/{}/deliveries/{}/retry", None),
    ("POST", HOOKS + "/{}/replay", {"since": datetime.now(UTC).isoformat()}),
]


@pytest.mark.parametrize(("method", "path", "body"), [*ROUTES, ("POST", HOOKS, {}), ("GET", HOOKS, None)])
async def test_endpoints_are_for_staff_alone(house: House, method: str, path: str, body: Any) -> None:
    where = path.format(new_id(), new_id())
    refused(await house.ask(method, where, body, **house.callers.user()), 403, "forbidden")
    refused(await house.ask(method, where, body, **{"X-API-Key": "reader"}), 403, "forbidden")
    refused(await house.ask(method, where, body, Authorization="Bearer x"), 401, "invalid_token")


async def test_a_request_that_is_repeated_makes_one_endpoint_and_shows_the_same_secret(house: House, receiver: Receiver) -> None:
    who = house.callers.admin()
    key = {"Idempotency-Key": new_id().hex, **who}
    first, second = await house.made(receiver, **key), await house.made(receiver, **key)
    assert first == second
    async with house.running.database("sync") as database:
        kept = await database.fetch("SELECT convert_from(body, 'UTF8') AS body FROM idempotency_keys")
        salts = await database.fetch("SELECT salt FROM webhook_secrets")
    assert not [row for row in kept if "whsec_" in row["body"]]
    assert not [row for row in salts if base64.b64encode(row["salt"]).decode() in first["secret"]]
    other = {"url": receiver.url, "event_types": ["*"], "description": "other"}
    refused(await house.ask("POST", HOOKS, other, **key), 422, "idempotency_key_reused")
    rotated = {"Idempotency-Key": new_id().hex, **who}
    answers = [(await house.ask("POST", f"{HOOKS}/{first['id']}/secret", None, **rotated)).json() for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["secret"] != first["secret"]
    assert (await house.made(receiver, **key))["secret"] is None, "it was replaced"


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"url": "https://example.org/x"}, "/event_types", "required_field"),
        ({"event_types": ["*"]}, "/url", "required_field"),
        ({"url": "https://example.org/x", "event_types": []}, "/event_types", "invalid_value"),
        ({"url": "https://example.org/x", "event_types": ["gifts.given"]}, "/event_types/0", "unknown_event"),
        ({"url": "https://example.org/x", "event_types": ["accounts.user_registered"]}, "/event_types/0", "unknown_event"),
        ({"url": "https://example.org/x", "event_types": ["donations.*"]}, "/event_types/0", "unknown_event"),
        ({"url": "https://example.org/x", "event_types": ["*"], "secret": "whsec_x"}, "/secret", "unknown_field"),
        ({"url": "https://nobody.invalid/x", "event_types": ["*"]}, "/url", "unknown_host"),
        ({"url": "", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "https://user:x@example.org/", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "http://example.org/x", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "https://example.org:25/x", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "https://127.0.0.1/x", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "https://localhost/x", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "https://[::ffff:169.254.169.254]/x", "event_types": ["*"]}, "/url", "forbidden_url"),
        ({"url": "https://10.0.0.8/x", "event_types": ["*"], "description": "x" * 201}, "/description", "invalid_value"),
        ({"url": "https://1.1.1.1/x", "event_types": ["*"], "description": "a\u0007"}, "/description", "invalid_character"),
    ],
)
async def test_bad_endpoints_are_refused_and_leave_nothing_behind(house: House, body: Any, pointer: str, code: str) -> None:
    before = await house.stored()
    answer = await house.strict.post(HOOKS, json=body, headers=house.callers.admin())
    refused(answer, 422, answer.json()["code"], pointer, code)
    assert await house.stored() == before


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("replay", {"since": (datetime.now(UTC) - timedelta(days=31)).isoformat()}, 422, "invalid_value"),
        ("replay", {"since": (datetime.now(UTC) + timedelta(days=1)).isoformat()}, 422, "invalid_value"),
        ("replay", {"since": "2027-01-01T00:00:00"}, 422, "invalid_value"),
        ("replay", {}, 422, "invalid_value"),
        ("secret", {"old_seconds": 86_401}, 422, "invalid_value"),
        ("secret", {"old_seconds": -1}, 422, "invalid_value"),
        (f"deliveries/{new_id()}/retry", None, 404, "webhook_delivery_not_found"),
        ("deliveries/x/retry", None, 404, "not_found"),
    ],
)
async def test_bad_wishes_about_an_endpoint_are_refused(
    house: House, receiver: Receiver, path: str, body: Any, status: int, code: str
) -> None:
    made = await house.made(receiver)
    before = await house.stored()
    answer = await house.ask("POST", f"{HOOKS}/{made['id']}/{path}", body)
    refused(answer, status, code)
    assert await house.stored() == before


async def test_nothing_is_sent_to_a_disabled_endpoint(house: House, receiver: Receiver) -> None:
    made = await house.made(receiver)
    (event,) = await house.say(gift())
    (delivery,) = await house.delivered(made, status="PROCESSED")
    assert (await house.ask("PATCH", f"{HOOKS}/{made['id']}", {"enabled": False})).json()["disabled_reason"] == "staff"
    since = {"since": (datetime.now(UTC) - timedelta(days=1)).isoformat()}
    for path, body in (("test", None), ("replay", since), (f"deliveries/{delivery['id']}/retry", None)):
        refused(await house.ask("POST", f"{HOOKS}/{made['id']}/{path}", body), 409, "webhook_endpoint_disabled")
    assert receiver.ids == [event["id"]]


async def test_a_test_a_retry_and_a_replay_over_http(house: House, receiver: Receiver) -> None:
    receiver.answer = lambda _: 500
    made = await house.made(receiver, "campaigns.updated")
    (event,) = await house.say(campaign())
    (dead,) = await house.delivered(made, status="DEAD")
    assert (dead["attempts"], dead["last_status_code"], dead["next_try_at"]) == (3, 500, None)
    receiver.answer = lambda _: 204
    receiver.posts.clear()
    answer = await house.ask(
        "POST", f"{HOOKS}/{made['id']}/replay", {"since": (datetime.now(UTC) - timedelta(hours=1)).isoformat()}
    )
    assert (answer.status_code, answer.json()["replaying"]) == (202, True)
    await house.delivered(made, status="PROCESSED")
    assert event["id"] in receiver.ids
    again = await house.ask("POST", f"{HOOKS}/{made['id']}/deliveries/{dead['id']}/retry")
    assert (again.status_code, again.json()["status"]) == (202, "PENDING")
    await eventually(lambda: receiver.ids.count(event["id"]) == 2, within_s=10, what="it was delivered again")
    tested = await house.ask("POST", f"{HOOKS}/{made['id']}/test")
    assert (tested.status_code, tested.json()["event_type"]) == (202, "webhooks.test")
    await eventually(lambda: tested.json()["event_id"] in receiver.ids, within_s=10, what="the test came")
    assert receiver.posts[-1].signed_by(made["secret"])
    waiting = await house.ask("GET", f"{HOOKS}/{made['id']}/deliveries?status=FAILED")
    assert waiting.json()["items"] == []
    pages = (await house.ask("GET", f"{HOOKS}/{made['id']}/deliveries?limit=1")).json()
    rest = (await house.ask("GET", f"{HOOKS}/{made['id']}/deliveries?limit=100&cursor={pages['next_cursor']}")).json()
    assert pages["items"][0]["test"]
    assert dead["id"] in [one["id"] for one in rest["items"]]


async def test_410_is_shown_with_its_reason(house: House, receiver: Receiver) -> None:
    receiver.answer = lambda _: 410
    made = await house.made(receiver)
    await house.say(gift())
    await house.delivered(made, status="ENDED", last_status_code=410)
    shown = (await house.ask("GET", f"{HOOKS}/{made['id']}")).json()
    assert (shown["enabled"], shown["disabled_reason"]) == (False, "gone")
    assert shown["disabled_at"]


async def test_a_worker_killed_between_a_post_and_its_note_posts_again_under_the_same_id(
    house: House, receiver: Receiver
) -> None:
    made = await house.made(receiver)
    served = house.running.first
    await served.restart(CAREFORALL_CRASH_AT="sync.after_post_before_settle:1")
    await house.ask("POST", f"{HOOKS}/{made['id']}/test")
    await served.wait_dead()
    assert len(receiver.posts) == 1
    served.launch(CAREFORALL_CRASH_AT="")
    await served.wait_ready()
    await house.delivered(made, status="PROCESSED", attempts=2)
    first, second = receiver.posts
    assert (first.id, first.body) == (second.id, second.body)
    assert second.signed_by(made["secret"])


async def test_what_staff_do_is_audited_by_name(house: House, receiver: Receiver) -> None:
    made = await house.made(receiver)
    await house.ask("POST", f"{HOOKS}/{made['id']}/test")
    async with house.running.database("sync") as database:
        told = await database.fetch(
            "SELECT convert_from(payload, 'UTF8') AS payload FROM outbox WHERE event_type = 'sync.admin_action'"
        )
    mine = [json.loads(row["payload"])["payload"] for row in told if made["id"] in row["payload"]]
    assert [one["action"] for one in mine] == ["webhook_endpoint.create", "webhook_endpoint.test"]
