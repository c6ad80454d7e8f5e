"""Webhooks against receivers over real HTTP: signed, repeated, given up on, ended by 410, side by side, replayed."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from standardwebhooks import Webhook

from careforall.kit.db import Database
from careforall.kit.ids import new_id
from careforall.sync import repository_webhooks
from careforall.sync.domain_webhooks import Verdict
from careforall_testing.hook_receiver import Receiver, receiving
from careforall_testing.hooks import STAFF, Hooks, hooked
from careforall_testing.mirroring import broken_in
from careforall_testing.platform import ROOT
from careforall_testing.polling import eventually
from careforall_testing.public_events import PERSON, campaign, gift, message


async def test_an_event_comes_once_signed_and_in_the_form_of_the_list(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    (event_id,) = await hooks.tell(gift())
    assert await hooks.settled() == 1
    (post,) = receiver.posts
    secret = await hooks.secret(made)
    assert secret.startswith("whsec_")
    assert post.signed_by(secret)
    assert Webhook(secret).verify(post.body, post.headers) == post.event
    assert not post.signed_by("whsec_" + "A" * 43 + "=")
    assert (post.id, post.path, post.headers["content-type"]) == (event_id, "/hook", "application/json")
    stretch = await hooks.publishing.read(None, (), 10)
    assert stretch.events[0].body == post.body
    assert PERSON.encode() not in post.body
    (delivery,) = await hooks.deliveries(made)
    assert (delivery.status, delivery.attempts, delivery.status_code, delivery.error_message) == ("PROCESSED", 1, 204, None)
    assert delivery.processed_at is not None


async def test_only_what_is_wanted_comes_and_only_from_then_on(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.tell(campaign())
    made = await hooks.endpoint(receiver.url, "campaigns.updated", "donations.refunded")
    _, wanted = await hooks.tell(gift(), campaign())
    await hooks.settled()
    assert receiver.ids == [wanted]
    await hooks.change(made, event_types=["donations.completed"])
    other, _ = await hooks.tell(gift(), campaign())
    await hooks.settled()
    assert receiver.ids == [wanted, other]
    await hooks.endpoints.delete(made.id, None, STAFF)
    await hooks.tell(gift())
    assert await hooks.settled() == 0


async def test_a_batch_that_is_redelivered_fans_out_once(hooks: Hooks, receiver: Receiver) -> None:
    made, other = await hooks.endpoint(receiver.url), await hooks.endpoint(receiver.url)
    batch = [message(gift()) for _ in range(10)]
    await asyncio.gather(*(hooks.database.run(lambda connection: hooks.publishing.store(connection, batch)) for _ in range(3)))
    assert [len(await hooks.deliveries(one)) for one in (made, other)] == [10, 10]


async def test_what_fails_comes_again_under_its_id_and_a_fresh_signature(hooks: Hooks, receiver: Receiver) -> None:
    answers = iter([500, 404, 302, 204])
    receiver.answer = lambda _: next(answers)
    made = await hooks.endpoint(receiver.url)
    (event_id,) = await hooks.tell(gift())
    assert await hooks.settled() == 4
    assert receiver.ids == [event_id] * 4
    assert all([post.signed_by(await hooks.secret(made)) for post in receiver.posts])
    (delivery,) = await hooks.deliveries(made)
    assert (delivery.status, delivery.attempts, delivery.status_code) == ("PROCESSED", 4, 204)


async def test_after_the_last_pause_a_delivery_is_dead_and_a_retry_gives_it_another_life(
    hooks: Hooks, receiver: Receiver
) -> None:
    receiver.answer = lambda _: 503
    made = await hooks.endpoint(receiver.url)
    await hooks.tell(gift())
    assert await hooks.settled(pauses=(0.01, 0.01)) == 3
    (dead,) = await hooks.deliveries(made)
    assert (dead.status, dead.attempts, dead.status_code, dead.error_message) == ("DEAD", 3, 503, "answered 503")
    receiver.answer = lambda _: 200
    again = await hooks.database.run(lambda connection: hooks.delivering.retry(connection, made.id, dead.id, STAFF))
    assert again.status == "PENDING"
    assert await hooks.settled() == 1
    assert len(set(receiver.ids)) == 1
    assert await hooks.states(made) == ["PROCESSED"]
    assert await hooks.told("retry") == [STAFF]


async def test_pauses_follow_the_schedule_and_retry_after_is_honoured(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer = lambda _: "HTTP/1.1 429 X\r\ncontent-length: 0\r\nretry-after: 1000"
    made = await hooks.endpoint(receiver.url)
    await hooks.tell(gift())
    sending = hooks.sending(pauses=(5, 300, 5000))
    for pause in (1000, 1000, 5000):
        await sending.run()
        (delivery,) = await hooks.deliveries(made)
        waits = (delivery.next_retry_at - datetime.now(UTC)).total_seconds()
        assert pause * 0.9 - 5 < waits < pause * 1.1
        assert (delivery.status, delivery.status_code) == ("FAILED", 429)
        await hooks.due_now()


async def test_nobody_there_is_said_and_tried_again(database: Database) -> None:
    async with hooked(database, seconds=0.3) as hooks:
        async with receiving() as closed:
            closed.answer = lambda _: None
            made = await hooks.endpoint(closed.url)
            await hooks.tell(gift())
            await hooks.sending(pauses=(300, 300)).run()
            (delivery,) = await hooks.deliveries(made)
            assert (delivery.status, delivery.status_code, delivery.error_message) == ("FAILED", None, "no answer in 0.3 s")
        await hooks.due_now()
        await hooks.sending(pauses=(300, 300)).run()
        (delivery,) = await hooks.deliveries(made)
        assert (delivery.status, delivery.status_code, delivery.error_message) == ("FAILED", None, "ConnectError")


async def test_410_disables_the_endpoint_at_once_and_ends_what_waits(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer = lambda _: 410
    made = await hooks.endpoint(receiver.url)
    async with receiving() as other:
        kept = await hooks.endpoint(other.url)
        await hooks.tell(*(gift() for _ in range(20)))
        await hooks.sending(at_once=1).run()
        assert len(receiver.posts) <= 2
        assert await hooks.states(made) == ["ENDED"] * 20
        assert 410 in {one.status_code for one in await hooks.deliveries(made)}
        assert await hooks.states(kept) == ["PROCESSED"] * 20
    found = await hooks.endpoints.endpoint(made.id)
    assert (found.enabled, found.disabled_reason) == (False, "gone")
    assert found.disabled_at is not None
    await hooks.tell(gift())
    assert len(await hooks.deliveries(made)) == 20


async def test_a_late_410_does_not_disable_what_staff_have_mended_meanwhile(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    await hooks.change(made, description="moved")
    await hooks.endpoints.gone(made.id, made.version)
    assert (await hooks.endpoints.endpoint(made.id)).enabled


async def test_a_slow_endpoint_does_not_hold_up_a_fast_one(hooks: Hooks, receiver: Receiver) -> None:
    receiver.answer = lambda _: None
    async with receiving() as fast:
        slow = await hooks.endpoint(receiver.url)
        await hooks.endpoint(fast.url)
        sending = hooks.sending(at_once=3)
        ids = await hooks.tell(*(gift() for _ in range(30)))
        running = asyncio.create_task(sending.run())
        await eventually(lambda: set(fast.ids) == set(ids), within_s=1.5, what="the fast endpoint has heard all")
        assert receiver.most_open == 3
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert "PROCESSED" not in await hooks.states(slow)


async def test_a_failed_delivery_does_not_hold_up_later_ones_of_its_object(hooks: Hooks, receiver: Receiver) -> None:
    about = new_id()
    made = await hooks.endpoint(receiver.url)
    first, second = await hooks.tell(campaign(about), campaign(about))
    receiver.answer = lambda post: 500 if post.id == first else 204
    await hooks.sending(pauses=(300,)).run()
    assert await hooks.states(made) == ["FAILED", "PROCESSED"]
    assert receiver.ids.count(second) == 1


async def test_a_worker_that_dies_leaves_a_lease_that_ends_and_its_late_word_counts_for_nothing(
    hooks: Hooks, receiver: Receiver
) -> None:
    made = await hooks.endpoint(receiver.url)
    (event_id,) = await hooks.tell(gift())

    async def claim(seconds: float) -> list[Any]:
        return await hooks.database.run(lambda connection: repository_webhooks.claim(connection, {}, at_once=4, seconds=seconds))

    (lost,) = await claim(30)
    assert await claim(30) == []
    assert await hooks.sending().run() == 0
    await hooks.due_now()
    receiver.answer = lambda _: 500
    assert await hooks.sending(pauses=(300,)).run() == 1
    assert (receiver.ids, lost.attempt) == ([event_id], 1)
    late = Verdict(id=lost.id, attempt=lost.attempt, status="DEAD")
    assert await hooks.database.run(lambda connection: repository_webhooks.settle(connection, [late])) == set()
    assert await hooks.states(made) == ["FAILED"]


async def test_an_address_that_has_turned_private_is_not_called_and_it_is_said_why(database: Database) -> None:
    async with hooked(database) as lax:
        made = await lax.endpoint("https://127.0.0.1:9999/x")
    async with hooked(database, allow_private=False) as strict:
        await strict.tell(gift())
        await strict.sending().run()
        (delivery,) = await strict.deliveries(made)
    assert (delivery.status, delivery.error_message) == ("FAILED", "the URL leads into a private network")


async def test_what_is_old_is_forgotten_with_its_deliveries_and_deleted_endpoints(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    kept = await hooks.endpoint(receiver.url)
    await hooks.tell(gift(), gift())
    await hooks.settled()
    await hooks.endpoints.delete(made.id, None, STAFF)
    await hooks.tell(gift())
    await hooks.execute("UPDATE webhook_events SET stored_at = stored_at - interval '31 days' WHERE number <= 2")
    await hooks.execute("UPDATE webhook_endpoints SET deleted_at = deleted_at - interval '31 days' WHERE id = $1", made.id)
    await hooks.publishing.forget()
    rows = await hooks.database.fetch("SELECT endpoint_id, event_number FROM webhook_deliveries")
    assert [(row["endpoint_id"], row["event_number"]) for row in rows] == [(kept.id, 3)]
    assert [row["id"] for row in await hooks.database.fetch("SELECT id FROM webhook_endpoints")] == [kept.id]


async def test_the_receiver_of_the_how_to_page_takes_what_is_sent_and_refuses_what_is_forged(
    hooks: Hooks, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    page = (ROOT / "docs" / "how-to" / "receive-webhooks.md").read_text()
    (program,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    script = tmp_path / "receiver.py"
    script.write_text(program.replace("9000", str(port)))
    made = await hooks.endpoint(f"http://127.0.0.1:{port}/hook")
    forged = await hooks.endpoint(f"http://127.0.0.1:{port}/hook", "campaigns.updated")
    secret = await hooks.secret(made)
    running = await asyncio.create_subprocess_exec(
        sys.executable,
        "-u",
        str(script),
        env={"WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        await eventually(lambda: _listens(port), within_s=20, what="the receiver listens")
        event = gift()
        await hooks.tell(event, campaign())
        await hooks.sending(pauses=()).run()
        assert running.stdout is not None
        heard = (await running.stdout.readline()).decode() + (await running.stdout.readline()).decode()
    finally:
        running.kill()
        await running.wait()
    assert "donations.completed" in heard
    assert str(event.donation_id) in heard
    assert await hooks.states(made) == ["PROCESSED", "PROCESSED"]
    assert [(one.status, one.status_code) for one in await hooks.deliveries(forged)] == [("DEAD", 401)]


def _listens(port: int) -> bool:
    with socket.socket() as asking:
        return asking.connect_ex(("127.0.0.1", port)) == 0


async def test_numbers_left_out_after_a_restore_are_no_hole_and_a_hole_beside_them_is(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.endpoint(receiver.url, "donations.completed")
    await hooks.tell(gift(), gift())
    await hooks.execute("SELECT leave_webhook_gap(1000000)")
    assert await broken_in(hooks.database) == {}
    await hooks.tell(gift())
    await hooks.settled()
    assert (await hooks.database.fetch("SELECT max(number) AS newest FROM webhook_events"))[0]["newest"] == 1_000_003
    assert await broken_in(hooks.database) == {}
    await hooks.execute("UPDATE webhook_sequence SET pruned = 1")
    assert await broken_in(hooks.database) == {}
    await hooks.execute("UPDATE webhook_sequence SET pruned = 500000")
    assert await broken_in(hooks.database) == {}
    await hooks.execute("UPDATE webhook_sequence SET last = last + 1")
    assert await broken_in(hooks.database) == {"sync.events_are_numbered_without_holes": ["500000-1000004"]}


@pytest.mark.parametrize(
    ("forgery", "invariant"),
    [
        ("DELETE FROM webhook_deliveries WHERE event_number = 2", "sync.one_delivery_to_each_who_wanted_it"),
        ("UPDATE webhook_wants SET event_types = '{*}'", "sync.one_delivery_to_each_who_wanted_it"),
        ("UPDATE webhook_sequence SET last = last + 1", "sync.events_are_numbered_without_holes"),
        ("DELETE FROM webhook_events WHERE number = 4", "sync.events_are_numbered_without_holes"),
        (
            "INSERT INTO inbox (consumer, message_id) VALUES ('sync-events-orders', gen_random_uuid())",
            "sync.every_public_event_is_stored",
        ),
    ],
)
async def test_verify_finds_what_was_not_stored_or_not_delivered(
    hooks: Hooks, receiver: Receiver, forgery: str, invariant: str
) -> None:
    first = await hooks.endpoint(receiver.url, "donations.completed")
    await hooks.tell(gift(), gift())
    await hooks.change(first, event_types=["*"])
    await hooks.change(first, event_types=["donations.completed"])
    other = await hooks.endpoint(receiver.url, "campaigns.updated")
    await hooks.tell(campaign())
    await hooks.change(other, enabled=False)
    await hooks.tell(campaign())
    await hooks.change(other, enabled=True)
    assert await broken_in(hooks.database) == {}
    await hooks.settled()
    assert await broken_in(hooks.database) == {}
    await hooks.execute(forgery)
    assert invariant in await broken_in(hooks.database)
