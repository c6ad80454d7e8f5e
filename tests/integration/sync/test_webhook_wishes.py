"""What staff ask of endpoints and their deliveries: another secret, a test, a retry, a replay, an end; and what that is told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from careforall.kit.errors import InvalidInput
from careforall.sync.endpoints import MOST
from careforall.sync.errors import DeliveryNotFound, EndpointDisabled, TooManyEndpoints, TooManySecrets
from careforall.sync.schemas_webhooks import NewSecret
from careforall_testing.hook_receiver import Receiver
from careforall_testing.hooks import STAFF, Hooks
from careforall_testing.public_events import campaign, gift


async def test_while_a_secret_is_rotated_both_sign_and_then_only_the_new_one(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    old = await hooks.secret(made)
    new = await hooks.rotate(made)
    assert await hooks.endpoints.secret(made.id, 1) is None, "the old one is not shown any more"
    await hooks.tell(gift())
    await hooks.settled()
    assert [receiver.posts[-1].signed_by(secret) for secret in (old, new)] == [True, True]
    await hooks.execute(
        "UPDATE webhook_secrets SET ends_at = clock_timestamp() WHERE ends_at < clock_timestamp() + interval '25 hours'"
    )
    await hooks.tell(gift())
    await hooks.settled()
    assert [receiver.posts[-1].signed_by(secret) for secret in (old, new)] == [False, True]
    newest = await hooks.rotate(made, old_seconds=0)
    await hooks.tell(gift())
    await hooks.settled()
    assert [receiver.posts[-1].signed_by(secret) for secret in (old, new, newest)] == [False, False, True]
    assert len({old, new, newest}) == 3
    assert await hooks.endpoints.secret(made.id, 1) is None


async def test_rotating_again_and_again_is_refused_before_the_header_grows(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    for _ in range(4):
        await hooks.rotate(made)
    with pytest.raises(TooManySecrets):
        await hooks.database.run(lambda connection: hooks.endpoints.rotate(connection, made.id, NewSecret(), STAFF))
    await hooks.rotate(made, old_seconds=0)


async def test_a_test_event_comes_whatever_is_wanted_and_is_listed_nowhere(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url, "campaigns.updated", description="Hall")
    sent = await hooks.database.run(lambda connection: hooks.delivering.test(connection, made.id, STAFF))
    assert (sent.test, sent.event_type, sent.status) == (True, "webhooks.test", "PENDING")
    await hooks.settled()
    (post,) = receiver.posts
    assert post.event["data"] == {"endpoint_id": str(made.id), "description": "Hall"}
    assert post.signed_by(await hooks.secret(made))
    assert (await hooks.publishing.read(None, (), 10)).events == []


async def replayed(hooks: Hooks, endpoint: Any, since: datetime) -> int:
    await hooks.database.run(lambda connection: hooks.delivering.replay(connection, endpoint.id, since, STAFF))
    return await hooks.delivering.go_on_replaying()


async def test_a_replay_brings_what_was_missed_given_up_on_or_ended_and_nothing_twice(hooks: Hooks, receiver: Receiver) -> None:
    before = await hooks.tell(gift(), gift())
    made = await hooks.endpoint(receiver.url, "donations.completed")
    heard = await hooks.tell(gift())
    await hooks.settled()
    receiver.answer = lambda _: 500
    dead = await hooks.tell(gift())
    await hooks.settled(pauses=())
    waiting = await hooks.tell(gift())
    await hooks.change(made, enabled=False)
    missed = await hooks.tell(gift(), campaign())
    assert await hooks.states(made) == ["PROCESSED", "DEAD", "ENDED"]
    with pytest.raises(EndpointDisabled):
        await replayed(hooks, made, datetime.now(UTC) - timedelta(days=1))
    await hooks.change(made, enabled=True)
    receiver.posts.clear()
    receiver.answer = lambda _: 204
    assert await replayed(hooks, made, datetime.now(UTC) - timedelta(days=1)) == 3
    await hooks.settled()
    assert sorted(receiver.ids) == sorted([*before, *dead, *waiting, missed[0]])
    assert heard[0] not in receiver.ids
    assert await replayed(hooks, made, datetime.now(UTC) - timedelta(days=1)) == 0
    assert await hooks.settled() == 0
    assert not (await hooks.endpoints.endpoint(made.id)).replay_after
    assert await hooks.told("replay") == [STAFF] * 2


async def test_a_replay_begins_at_its_moment(hooks: Hooks, receiver: Receiver) -> None:
    await hooks.tell(gift())
    later = await hooks.tell(gift())
    await hooks.execute("UPDATE webhook_events SET stored_at = stored_at - interval '2 hours' WHERE number = 1")
    made = await hooks.endpoint(receiver.url)
    assert await replayed(hooks, made, datetime.now(UTC) - timedelta(hours=1)) == 1
    await hooks.settled()
    assert receiver.ids == later


@pytest.mark.parametrize("since", [timedelta(days=30, minutes=1), timedelta(days=-1)])
async def test_a_replay_of_other_days_is_refused(hooks: Hooks, receiver: Receiver, since: timedelta) -> None:
    made = await hooks.endpoint(receiver.url)
    with pytest.raises(InvalidInput):
        await replayed(hooks, made, datetime.now(UTC) - since)


async def test_disabling_ends_what_waits_and_enabling_does_not_bring_it_back(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    await hooks.tell(gift(), gift())
    changed = await hooks.change(made, enabled=False)
    assert (changed.disabled_reason, await hooks.states(made)) == ("staff", ["ENDED", "ENDED"])
    back = await hooks.change(made, enabled=True)
    assert (back.enabled, back.disabled_reason, back.disabled_at) == (True, None, None)
    (event_id,) = await hooks.tell(gift())
    await hooks.settled()
    assert receiver.ids == [event_id]


async def test_another_endpoint_s_delivery_is_not_found(hooks: Hooks, receiver: Receiver) -> None:
    made, other = await hooks.endpoint(receiver.url), await hooks.endpoint(receiver.url, "campaigns.updated")
    await hooks.tell(gift())
    (delivery,) = await hooks.deliveries(made)
    with pytest.raises(DeliveryNotFound):
        await hooks.database.run(lambda connection: hooks.delivering.retry(connection, other.id, delivery.id, STAFF))


async def test_there_is_a_most_of_endpoints(hooks: Hooks, receiver: Receiver) -> None:
    for _ in range(MOST):
        made = await hooks.endpoint(receiver.url)
    with pytest.raises(TooManyEndpoints):
        await hooks.endpoint(receiver.url)
    await hooks.endpoints.delete(made.id, None, STAFF)
    await hooks.endpoint(receiver.url)


async def test_every_change_of_an_endpoint_is_told_to_the_audit_log(hooks: Hooks, receiver: Receiver) -> None:
    made = await hooks.endpoint(receiver.url)
    await hooks.change(made, description="x")
    await hooks.rotate(made)
    await hooks.endpoints.delete(made.id, None, STAFF)
    for action in ("create", "change", "rotate_secret", "delete"):
        assert await hooks.told(action) == [STAFF]
    row = await hooks.database.fetchrow("SELECT count(*) AS n FROM webhook_secrets")
    assert row is not None
    assert row["n"] == 0
