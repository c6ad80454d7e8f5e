"""Customers over HTTP, as a real process: who may, what is refused and leaves nothing behind, what staff see of deliveries."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from msgspec import Struct

from careforall.kit.ids import NIL, new_id
from careforall.launch.servers import Nats
from careforall.sync.gateways.stripe import NOTE_ID, NOTE_VERSION
from careforall_testing.callers import Callers, signing_in
from careforall_testing.platform import Platform, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.stripe_fake import StripeFake

CUSTOMERS = "/api/v1/customers"
HOOK = "/api/v1/sync/webhook/stripe"
OPERATIONS = "/api/v1/admin/sync"
TABLES = ("customers", "deliveries", "outbox", "idempotency_keys", "inbound_events")


class House(Struct, frozen=True, kw_only=True):
    """The sync service as a process, a company, and somebody who signs tokens."""

    running: Platform
    callers: Callers
    fake: StripeFake

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        content = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
        sent = {"Content-Type": "application/json", **self.callers.admin(), **headers}
        return await self.running.client.request(method, path, content=content, headers=sent)

    async def made(self, **fields: Any) -> dict[str, Any]:
        answer = await self.ask("POST", CUSTOMERS, {"email": f"{new_id().hex}@example.org", **fields})
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def mirrored(self, customer: dict[str, Any], version: int) -> dict[str, Any]:
        """The one image, once it shows a version."""

        def image() -> dict[str, Any] | None:
            mine = [one for one in self.fake.books.customers.present if one["metadata"].get(NOTE_ID) == customer["id"]]
            assert len(mine) <= 1, "somebody was made twice"
            return next((one for one in mine if one["metadata"][NOTE_VERSION] == str(version)), None)

        return await eventually(image, within_s=40, what=f"version {version} is there")

    async def stored(self) -> dict[str, int]:
        async with self.running.database("sync") as database:
            return {table: await database.fetchval(f"SELECT count(*) FROM {table}") for table in TABLES}

    async def refused(self, answer: Any, status: int, code: str, pointer: str = "", field: str = "") -> dict[str, Any]:
        document: dict[str, Any] = answer.json()
        assert (answer.status_code, document["code"]) == (status, code), answer.text
        if pointer:
            found = [(error["pointer"], error["code"]) for error in document["errors"]]
            assert (pointer, field or code) in found, answer.text
        return document


@pytest.fixture(scope="module")
def broker() -> Iterator[Nats]:
    with own_nats() as server:
        yield server


@pytest.fixture(scope="module")
async def house(servers: ServerUrls, broker: Nats) -> AsyncIterator[House]:
    urls = ServerUrls(postgres=servers.postgres, nats=broker.url, redis=servers.redis)
    async with StripeFake.running() as fake:
        variables = {
            "CAREFORALL_STRIPE_SECRET_KEY": fake.key,
            "CAREFORALL_STRIPE_BASE": fake.url,
            "CAREFORALL_SYNC_STRIPE_WEBHOOK_SECRETS": fake.secret,
            "CAREFORALL_DELIVERY_SECONDS": "0.8",
            "CAREFORALL_DELIVERY_RETRY_SECONDS": "0.05",
            "CAREFORALL_DELIVERY_PAUSE_SECONDS": "0.2",
        }
        async with platform(urls, databases_of=["sync"], **variables) as running, signing_in(running) as callers:
            await running.serve(["sync"])
            yield House(running=running, callers=callers, fake=fake)


async def test_a_customer_from_first_to_last(house: House) -> None:
    answer = await house.ask("POST", CUSTOMERS, {"email": "First@Example.org", "name": "One", "metadata": {"tier": "gold"}})
    made = answer.json()
    assert (answer.status_code, answer.headers["etag"]) == (201, '"1"')
    assert (made["email"], made["name"], made["metadata"], made["version"]) == (
        "first@example.org",
        "One",
        {"tier": "gold"},
        1,
    )
    image = await house.mirrored(made, 1)
    changed = await house.ask("PATCH", f"{CUSTOMERS}/{made['id']}", {"name": "Two", "version": 1})
    assert (changed.json()["version"], changed.headers["etag"]) == (2, '"2"')
    await house.mirrored(made, 2)
    shown = (await house.ask("GET", f"{CUSTOMERS}/{made['id']}")).json()
    assert (shown["name"], shown["metadata"], shown["external_ids"]) == ("Two", {"tier": "gold"}, {"stripe": image["id"]})
    assert (await house.ask("DELETE", f"{CUSTOMERS}/{made['id']}", **{"If-Match": '"2"'})).status_code == 204
    await eventually(lambda: image["id"] in house.fake.books.customers.deleted, what="the image is deleted")
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        gone = await house.ask(method, f"{CUSTOMERS}/{made['id']}", body)
        await house.refused(gone, 404, "customer_not_found")
    async with house.running.database("sync") as database:
        row = await database.fetchrow("SELECT email, name, metadata FROM customers WHERE id = $1", made["id"])
    assert row is not None
    assert tuple(row) == ("", "", "{}")


async def test_what_is_told_over_http_is_taken_over(house: House) -> None:
    made = await house.made(name="One")
    image = await house.mirrored(made, 1)
    house.fake.lose_webhooks()
    house.fake.books.customers.change(image["id"], {"name": "There"})
    (answer,) = await house.fake.deliver(house.running.first.url + HOOK)
    assert (answer.status_code, answer.json()) == (200, {"status": "processed", "reason": None})
    assert (await house.ask("GET", f"{CUSTOMERS}/{made['id']}")).json()["name"] == "There"
    unsigned = await house.running.client.post(HOOK, content=b"{}")
    await house.refused(unsigned, 401, "invalid_signature")
    await house.refused(await house.running.client.post(f"{HOOK[:-6]}paypal", content=b"{}"), 404, "target_not_set_up")


async def test_lists_go_on_by_cursor_and_find_by_mail(house: House) -> None:
    made = [await house.made() for _ in range(3)]
    first = (await house.ask("GET", f"{CUSTOMERS}?limit=2")).json()
    rest = (await house.ask("GET", f"{CUSTOMERS}?limit=2&cursor={first['next_cursor']}")).json()
    newest = [one["id"] for one in first["items"] + rest["items"]][:3]
    assert newest == [one["id"] for one in reversed(made)]
    found = (await house.ask("GET", CUSTOMERS + f"?email={made[1]['email'].upper()}")).json()
    assert [one["id"] for one in found["items"]] == [made[1]["id"]]
    await house.refused(await house.ask("GET", f"{CUSTOMERS}?cursor=x"), 422, "invalid_value", "/cursor", "invalid_cursor")


async def test_a_repeat_with_a_key_makes_nobody_twice(house: House) -> None:
    body, headers = {"email": f"{new_id().hex}@example.org"}, {**house.callers.admin(), "Idempotency-Key": new_id().hex}
    answers = await asyncio.gather(*(house.ask("POST", CUSTOMERS, body, **headers) for _ in range(4)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sorted(answer.headers.get("idempotent-replayed", "") for answer in answers) == ["", "true", "true", "true"]
    other = await house.ask("POST", CUSTOMERS, {**body, "name": "Other"}, **headers)
    await house.refused(other, 422, "idempotency_key_reused")
    await house.refused(await house.ask("POST", CUSTOMERS, body), 409, "duplicate_entry", "/email")


async def test_no_stored_answer_quotes_a_customer_who_was_deleted(house: House) -> None:
    mails = [f"{new_id().hex}@example.org" for _ in range(2)]
    made = []
    for mail in mails:
        headers = {**house.callers.admin(), "Idempotency-Key": new_id().hex}
        made.append((await house.ask("POST", CUSTOMERS, {"email": mail, "name": "Leaving"}, **headers)).json())
    assert (await house.ask("DELETE", f"{CUSTOMERS}/{made[0]['id']}")).status_code == 204
    kept = "SELECT count(*) FROM idempotency_keys WHERE position(convert_to($1, 'UTF8') IN body) > 0"
    async with house.running.database("sync") as database:
        assert [await database.fetchval(kept, mail) for mail in mails] == [0, 1]


@pytest.mark.parametrize(
    ("body", "pointer", "field"),
    [
        ({}, "/email", "required_field"),
        ({"email": "x@example.org", "role": "ADMIN"}, "/role", "unknown_field"),
        ({"email": "x@example.org", "external_ids": {"stripe": "cus_1"}}, "/external_ids", "unknown_field"),
        ({"email": "x@example.org", "version": 7}, "/version", "unknown_field"),
        ({"email": "nobody"}, "/email", "invalid_email"),
        ({"email": "a@b@example.org"}, "/email", "invalid_email"),
        ({"email": "x\x00@example.org"}, "/email", "invalid_email"),
        ({"email": "x" * 250 + "@example.org"}, "/email", "invalid_email"),
        ({"email": 7}, "/email", "invalid_value"),
        ({"email": None}, "/email", "invalid_value"),
        ({"email": "x@example.org", "name": "n" * 201}, "/name", "invalid_value"),
        ({"email": "x@example.org", "name": "a\x00b"}, "/name", "invalid_character"),
        ({"email": "x@example.org", "name": "4111 1111 1111 1111"}, "/name", "card_number"),
        ({"email": "x@example.org", "metadata": {"a": 1}}, "/metadata/...", "invalid_value"),
        ({"email": "x@example.org", "metadata": {"a": ""}}, "/metadata/a", "too_short"),
        ({"email": "x@example.org", "metadata": {"": "a"}}, "/metadata/", "invalid_name"),
        ({"email": "x@example.org", "metadata": {"a[b]": "a"}}, "/metadata/a[b]", "invalid_name"),
        ({"email": "x@example.org", "metadata": {"careforall_version": "9"}}, "/metadata/careforall_version", "invalid_name"),
        ({"email": "x@example.org", "metadata": {"a/b": "v" * 501}}, "/metadata/a~1b", "too_long"),
        ({"email": "x@example.org", "metadata": {"k" * 41: "v"}}, "/metadata/" + "k" * 40, "too_long"),
        ({"email": "x@example.org", "metadata": {"a": "\x00"}}, "/metadata/a", "invalid_character"),
        ({"email": "x@example.org", "metadata": {str(n): "v" for n in range(41)}}, "/metadata", "invalid_value"),
    ],
)
async def test_what_cannot_be_accepted_leaves_nothing(house: House, body: dict[str, Any], pointer: str, field: str) -> None:
    before = await house.stored()
    await house.refused(await house.ask("POST", CUSTOMERS, body), 422, "invalid_value", pointer, field)
    assert await house.stored() == before


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b'"text"', b'{"email": "a@example.org", "email": "b@example.org"}', b'{"email": "\xff"}', b"\x00"],
)
async def test_what_is_no_customer_at_all_leaves_nothing(house: House, body: bytes) -> None:
    before = await house.stored()
    answer = await house.ask("POST", CUSTOMERS, body)
    assert answer.status_code in {400, 422}, answer.text
    assert await house.stored() == before


async def test_a_taken_mail_and_a_stale_version_are_conflicts(house: House) -> None:
    one, other = await house.made(), await house.made()
    before = await house.stored()
    taken = await house.ask("POST", CUSTOMERS, {"email": one["email"].upper()})
    await house.refused(taken, 409, "duplicate_entry", "/email")
    moved = await house.ask("PATCH", f"{CUSTOMERS}/{other['id']}", {"email": one["email"]})
    await house.refused(moved, 409, "duplicate_entry", "/email")
    path = f"{CUSTOMERS}/{one['id']}"
    for answer in (
        await house.ask("PATCH", path, {"name": "x", "version": 2}),
        await house.ask("PATCH", path, {"name": "x"}, **{"If-Match": '"7"'}),
        await house.ask("DELETE", path, **{"If-Match": '"7"'}),
    ):
        document = await house.refused(answer, 409, "version_conflict")
        assert document["current_version"] == 1
    differ = await house.ask("PATCH", path, {"name": "x", "version": 1}, **{"If-Match": '"2"'})
    await house.refused(differ, 422, "invalid_value", "/version")
    await house.refused(await house.ask("PATCH", path, {"nmae": "x"}), 422, "invalid_value", "/nmae", "unknown_field")
    assert await house.stored() == before


@pytest.mark.parametrize("identifier", [str(NIL), str(new_id()), "x", "%00", "1' OR '1'='1"])
async def test_what_names_nobody_is_not_found(house: House, identifier: str) -> None:
    for method, body in (("GET", None), ("PATCH", {"name": "x"}), ("DELETE", None)):
        answer = await house.ask(method, f"{CUSTOMERS}/{identifier}", body)
        assert answer.status_code == 404, answer.text


async def test_only_staff_may(house: House) -> None:
    made = await house.made()
    client = house.running.client
    for method, path in (
        ("GET", CUSTOMERS),
        ("POST", CUSTOMERS),
        ("GET", f"{CUSTOMERS}/{made['id']}"),
        ("PATCH", f"{CUSTOMERS}/{made['id']}"),
        ("DELETE", f"{CUSTOMERS}/{made['id']}"),
        ("GET", f"{OPERATIONS}/outbox/dead-letter"),
        ("POST", f"{OPERATIONS}/outbox/retry/{new_id()}"),
    ):
        body: dict[str, Any] = {"json": {"name": "x", "email": "x@example.org"}} if method in {"POST", "PATCH"} else {}
        await house.refused(await client.request(method, path, **body), 401, "unauthorized")
        stranger = await client.request(method, path, headers=house.callers.user(), **body)
        await house.refused(stranger, 403, "forbidden")


async def test_staff_see_what_is_dead_and_send_it_again(house: House) -> None:
    made = await house.made(name="Mail that is refused there")
    await house.mirrored(made, 1)
    email = f"jörg{new_id().hex[:8]}@example.org"
    await house.ask("PATCH", f"{CUSTOMERS}/{made['id']}", {"email": email})

    async def letter() -> Any:
        found = (await house.ask("GET", f"{OPERATIONS}/outbox/dead-letter")).json()
        assert set(found) == {"events", "count"}
        return next((one for one in found["events"] if one["aggregate_id"] == made["id"]), None)

    dead = await eventually(letter, what="the refused change is a dead letter")
    assert (dead["kind"], dead["event_type"], dead["attempts"]) == ("queue", "customer.updated", 1)
    assert "email_invalid" in dead["reason"]
    statistics = (await house.ask("GET", f"{OPERATIONS}/outbox/statistics")).json()
    assert set(statistics) == {"processed", "pending", "failed", "dead", "success_rate", "failure_rate", "oldest_age"}
    assert statistics["dead"] == 1
    retried = await house.ask("POST", f"{OPERATIONS}/outbox/retry/{dead['id']}")
    assert retried.json()["success"] is True
    await eventually(letter, what="it is refused again")
    await house.ask("PATCH", f"{CUSTOMERS}/{made['id']}", {"email": f"{new_id().hex}@example.org"})
    await house.mirrored(made, 3)
    assert await letter() is None


async def test_health_says_where_customers_are_mirrored(house: House) -> None:
    notes = (await house.running.client.get("/health")).json()["services"]["sync"]["notes"]
    assert notes["stripe"] in {"on", "paused after failures"}
    connections = (await house.ask("GET", f"{OPERATIONS}/database/connections")).json()
    assert set(connections) == {"size", "checked_in", "checked_out", "overflow", "waiting", "total"}
    database = (await house.ask("GET", f"{OPERATIONS}/database/health")).json()
    assert {"latency_ms", "error_rate", "last_check"} <= set(database)


@pytest.mark.parametrize("point", ["sync.after_lease", "sync.after_call_before_settle"])
async def test_a_worker_killed_at_its_work_doubles_nobody(house: House, point: str) -> None:
    served = house.running.first
    await served.restart(CAREFORALL_CRASH_AT=f"{point}:4")
    made: list[dict[str, Any]] = []
    for number in range(12):
        try:
            made.append(await house.made(name=f"Crash {number}"))
        except httpx2.TransportError:  # it died while it answered
            break
    await served.wait_dead()
    served.launch(CAREFORALL_CRASH_AT="")
    await served.wait_ready()
    assert made
    for one in made:
        await house.mirrored(one, 1)
    for one in made[:3]:
        await house.ask("PATCH", f"{CUSTOMERS}/{one['id']}", {"name": "After"})
        await house.mirrored(one, 2)


async def test_without_a_key_customers_wait_and_health_says_so(house: House) -> None:
    served = house.running.first
    await served.restart(CAREFORALL_STRIPE_SECRET_KEY="")
    made = await house.made()
    notes = (await house.running.client.get("/health")).json()["services"]["sync"]["notes"]
    assert notes["stripe"].startswith("off: CAREFORALL_STRIPE_SECRET_KEY")
    await house.refused(await house.running.client.post(HOOK, content=b"{}"), 404, "target_not_set_up")
    assert (await house.ask("GET", f"{CUSTOMERS}/{made['id']}")).json()["external_ids"] == {}
    await served.restart(CAREFORALL_STRIPE_SECRET_KEY=house.fake.key)
    changed = await house.ask("PATCH", f"{CUSTOMERS}/{made['id']}", {"name": "Later"})
    assert changed.status_code == 200
    await house.mirrored(made, 2)


async def test_the_same_operations_endpoints_over_all_services(house: House) -> None:
    everywhere = "/api/v1/admin"
    pools = (await house.ask("GET", f"{everywhere}/database/connections")).json()
    assert {"size", "checked_in", "checked_out", "overflow", "waiting", "total", "services"} == set(pools)
    assert pools["size"] == pools["services"]["sync"]["size"]
    database = (await house.ask("GET", f"{everywhere}/database/health")).json()
    assert (database["status"], list(database["services"])) == ("up", ["sync"])
    assert {"latency_ms", "error_rate", "last_check"} <= set(database)
    statistics = (await house.ask("GET", f"{everywhere}/outbox/statistics")).json()
    assert statistics["processed"] > 0
    assert set((await house.ask("GET", f"{everywhere}/outbox/dead-letter")).json()) == {"events", "count"}
    assert (await house.ask("GET", f"{everywhere}/outbox/pending")).status_code == 200
    assert (await house.ask("GET", f"{everywhere}/inbox/statistics")).status_code == 200
    assert "sync" in (await house.ask("GET", f"{everywhere}/health")).json()
    assert (await house.ask("POST", f"{everywhere}/outbox/process")).json()["success"] is True
    for action in ("retry", "discard"):
        await house.refused(await house.ask("POST", f"{everywhere}/outbox/{action}/{new_id()}"), 404, "not_found")
