"""What the company tells: its changes are taken over, echoes of our own change nothing, and nothing goes round in a circle."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import msgspec
import pytest

from careforall.kit.errors import Malformed
from careforall.kit.stripe.signature import StripeScheme
from careforall.sync.errors import CallUnderWay, CustomerNotFound, InvalidSignature, TargetNotSetUp
from careforall.sync.gateways.stripe import read_event
from careforall.sync.inbound import Channel, Inbound
from careforall_testing.mirroring import Mirror
from careforall_testing.signing import sign_stripe
from careforall_testing.stripe_fake import sent


class Ear:
    """Hears what the fake tells."""

    def __init__(self, mirror: Mirror) -> None:
        scheme = StripeScheme((mirror.fake.secret,))
        channel = Channel(scheme=scheme, read=partial(read_event, livemode=False))
        self.mirror = mirror
        self.inbound = Inbound(mirror.database, mirror.service, {"stripe": channel})
        self.heard = 0

    async def hear(self, body: bytes) -> dict[str, Any]:
        headers = {name.lower().encode(): value.encode() for name, value in sign_stripe(self.mirror.fake.secret, body).items()}
        answer = await self.inbound.receive("stripe", headers, body)
        return {**msgspec.json.decode(answer.body), "replayed": answer.replayed}

    async def all(self) -> list[tuple[str, str | None]]:
        """Hear everything not heard yet."""
        events = self.mirror.fake.books.events[self.heard :]
        self.heard += len(events)
        answers = [await self.hear(sent(event)) for event in events]
        return [(answer["status"], answer.get("reason")) for answer in answers]


@pytest.fixture
def ear(mirror: Mirror) -> Ear:
    return Ear(mirror)


async def test_our_own_changes_come_back_and_change_nothing(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One", metadata={"tier": "gold"})
    await mirror.carry()
    changed = await mirror.change(made, name="Two")
    await mirror.carry()
    assert await ear.all() == [("ignored", "stale_version"), ("ignored", "own_change")]
    await mirror.service.delete(made.id, None)
    await mirror.carry()
    assert await ear.all() == [("ignored", "own_change")]
    assert mirror.images(changed) == []


async def test_a_change_there_is_taken_over_and_not_carried_back(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One", metadata={"tier": "gold"})
    await mirror.carry()
    name = mirror.images(made)[0]["id"]
    mirror.fake.books.customers.change(
        name, {"name": "There", "email": "There@example.org", "metadata": {"tier": "", "new": "x"}}
    )
    assert await ear.all() == [("ignored", "own_change"), ("processed", None)]
    found = await mirror.service.customer(made.id)
    assert (found.name, found.email, found.metadata, found.version) == ("There", "there@example.org", {"new": "x"}, 2)
    assert await mirror.carry() == 0
    mirror.fake.books.customers.change(name, {"name": "There again"})
    assert await ear.all() == [("processed", None)]
    assert (await mirror.service.customer(made.id)).version == 3
    here = await mirror.change(made, name="Here")
    await mirror.carry()
    assert await ear.all() == [("ignored", "own_change")]
    assert mirror.image(here) == ("there@example.org", "Here", {"new": "x"}, 4)
    events = await mirror.database.fetch("SELECT event_type FROM outbox ORDER BY id")
    assert [row["event_type"] for row in events] == ["customer.created", *["customer.updated"] * 3]


async def test_a_repeat_gets_the_same_answer(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One")
    await mirror.carry()
    mirror.fake.books.customers.change(mirror.images(made)[0]["id"], {"name": "There"})
    event = sent(mirror.fake.books.events[-1])
    assert await ear.hear(event) == {"status": "processed", "reason": None, "replayed": False}
    assert await ear.hear(event) == {"status": "processed", "reason": None, "replayed": True}
    assert (await mirror.service.customer(made.id)).version == 2


async def test_a_change_here_that_waits_counts_more_than_one_there(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One")
    await mirror.carry()
    mirror.fake.books.customers.change(mirror.images(made)[0]["id"], {"name": "There"})
    here = await mirror.change(made, name="Here")
    assert await ear.all() == [("ignored", "own_change"), ("ignored", "newer_here")]
    await mirror.carry()
    assert mirror.image(here) == ("one@example.org", "Here", {}, 2)
    assert await ear.all() == [("ignored", "own_change")]


async def test_an_older_change_told_late_is_not_taken_over(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One")
    await mirror.carry()
    name = mirror.images(made)[0]["id"]
    mirror.fake.books.customers.change(name, {"name": "Older"})
    mirror.fake.books.customers.change(name, {"name": "Newer"})
    older, newer = mirror.fake.books.events[-2:]
    older["created"] -= 10
    assert (await ear.hear(sent(newer)))["status"] == "processed"
    assert (await ear.hear(sent(older)))["reason"] == "older_than_known"
    assert (await mirror.service.customer(made.id)).name == "Newer"


async def test_an_event_during_our_call_is_told_again_later(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One")
    mirror.fake.switches.late_s = 0.5
    await mirror.carry(seconds=0.1, breaker_pause=60)
    mirror.fake.switches.late_s = 0
    assert await ear.all() == [("ignored", "own_change")], "the echo of a call without an answer is still an echo"
    mirror.fake.books.customers.change(mirror.images(made)[0]["id"], {"name": "There"})
    event = sent(mirror.fake.books.events[-1])
    with pytest.raises(CallUnderWay):
        await ear.hear(event)
    await mirror.carried()
    assert await ear.hear(event) == {"status": "processed", "reason": None, "replayed": False}
    assert (await mirror.service.customer(made.id)).name == "There"


async def test_who_is_deleted_there_is_deleted_here(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create()
    await mirror.carry()
    mirror.fake.books.customers.delete(mirror.images(made)[0]["id"])
    assert await ear.all() == [("ignored", "own_change"), ("processed", None)]
    with pytest.raises(CustomerNotFound):
        await mirror.service.customer(made.id)
    assert await mirror.carry() == 0
    assert (await mirror.row(made))["status"] == "PROCESSED"
    last = await mirror.database.fetchrow("SELECT event_type FROM outbox ORDER BY id DESC LIMIT 1")
    assert last is not None
    assert last["event_type"] == "customer.deleted"


async def test_who_is_deleted_there_and_changed_here_is_made_anew(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One")
    await mirror.carry()
    mirror.fake.books.customers.delete(mirror.images(made)[0]["id"])
    here = await mirror.change(made, name="Here")
    assert await ear.all() == [("ignored", "own_change"), ("processed", None)]
    await mirror.carry()
    assert mirror.image(here) == ("one@example.org", "Here", {}, 2)


async def test_what_cannot_be_kept_is_not_taken_over(mirror: Mirror, ear: Ear) -> None:
    made = await mirror.create(name="One")
    other = await mirror.create(email="two@example.org")
    await mirror.carry()
    ear.heard = len(mirror.fake.books.events)
    name = mirror.images(made)[0]["id"]
    mirror.fake.books.customers.change(name, {"email": "two@example.org"})
    mirror.fake.books.customers.change(name, {"email": ""})
    mirror.fake.books.customers.change(name, {"email": "one@example.org", "name": "4242 4242 4242 4242"})
    assert await ear.all() == [("ignored", "email_taken"), ("ignored", "not_acceptable"), ("ignored", "not_acceptable")]
    assert (await mirror.service.customer(made.id)).version == 1
    assert (await mirror.service.customer(other.id)).version == 1


async def test_strangers_and_other_matters_are_ignored(mirror: Mirror, ear: Ear) -> None:
    mirror.fake.books.customers.make({"email": "stranger@example.org"})
    mirror.fake.books.tell("invoice.paid", {"id": "in_1", "object": "invoice"})
    mirror.fake.books.tell("customer.updated", {"id": "cus_1", "object": "customer"})
    mirror.fake.books.events[-1]["livemode"] = True
    assert await ear.all() == [("ignored", "unknown_object"), ("ignored", "other_event"), ("ignored", "other_mode")]


async def test_what_is_not_signed_or_no_event_is_refused_and_not_kept(mirror: Mirror, ear: Ear) -> None:
    mirror.fake.books.customers.make({"email": "stranger@example.org"})
    body = sent(mirror.fake.books.events[-1])
    headers = {name.lower().encode(): value.encode() for name, value in sign_stripe(mirror.fake.secret, body).items()}
    old = Inbound(mirror.database, mirror.service, ear.inbound._channels, clock=lambda: time.time() + 301)  # noqa: SLF001
    for inbound, found, content in (
        (ear.inbound, {}, body),
        (ear.inbound, headers, body + b" "),
        (old, headers, body),
    ):
        with pytest.raises(InvalidSignature):
            await inbound.receive("stripe", found, content)
    with pytest.raises(TargetNotSetUp):
        await ear.inbound.receive("paypal", headers, body)
    for nonsense in (b"{}", b"[]", b"\x00", b'{"id": "evt_1", "type": "customer.updated", "created": 1, "data": {"object": 1}}'):
        with pytest.raises(Malformed):
            await ear.hear(nonsense)
    assert await mirror.database.fetch("SELECT * FROM inbound_events") == []
