"""Use cases of deliveries that staff ask for: a look at them, another try, a test, and a replay of what was missed.

A replay is a place in the row of its endpoint, moved on in bites by a job: it survives whoever works on it, and a repeat changes
nothing, because an event has one delivery to an endpoint.
"""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from careforall.kit import outbox
from careforall.kit.context import current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput
from careforall.kit.ids import new_id
from careforall.kit.operations import admin_action
from careforall.sync import repository_endpoints, repository_events, repository_webhooks
from careforall.sync.domain_webhooks import KEPT_DAYS, TEST, Delivery, Draft, Endpoint, PublicEvent, fan_out
from careforall.sync.endpoints import Endpoints
from careforall.sync.errors import DeliveryNotFound, EndpointDisabled

_BITE = 1000


class Delivering:
    """What the API and the replaying job call."""

    def __init__(self, database: Database, endpoints: Endpoints) -> None:
        self._database = database
        self._endpoints = endpoints

    async def deliveries(self, endpoint_id: UUID, status: str | None, before: UUID | None, limit: int) -> list[Delivery]:
        """Return deliveries to an endpoint, newest first.

        Raises:
            EndpointNotFound: There is none, or none any more.
        """
        await self._endpoints.endpoint(endpoint_id)
        async with self._database.connection() as connection:
            return await repository_webhooks.deliveries(connection, endpoint_id, status, before, limit)

    async def retry(self, connection: Connection, endpoint_id: UUID, delivery_id: UUID, actor: UUID) -> Delivery:
        """Post a delivery again, now, whatever came of it so far, in the caller's transaction.

        Raises:
            DeliveryNotFound: The endpoint has none of this id.
            EndpointDisabled: Nothing is sent to it.
        """
        endpoint = await self._listening(connection, endpoint_id)
        found = await repository_webhooks.again(connection, endpoint.id, delivery_id, current().traceparent)
        if found is None:
            raise DeliveryNotFound
        await _note(connection, "retry", actor, f"{endpoint_id}:{delivery_id}")
        return found

    async def test(self, connection: Connection, endpoint_id: UUID, actor: UUID) -> Delivery:
        """Have a test event delivered, which is about nothing, in the caller's transaction.

        Raises:
            EndpointDisabled: Nothing is sent to it.
        """
        endpoint = await self._listening(connection, endpoint_id)
        event = _test_event(endpoint)
        draft = Draft(
            id=new_id(),
            endpoint_id=endpoint.id,
            event_number=None,
            event_id=event.id,
            event_type=event.type,
            traceparent=current().traceparent,
            test_body=repository_events.encoded(event),
        )
        await repository_webhooks.add(connection, [draft])
        await _note(connection, "test", actor, str(endpoint_id))
        (found,) = await repository_webhooks.deliveries(connection, endpoint.id, None, None, 1)
        return found

    async def replay(self, connection: Connection, endpoint_id: UUID, since: datetime, actor: UUID) -> Endpoint:
        """Begin a replay, in the caller's transaction.

        Raises:
            InvalidInput: The moment is not within the last 30 days.
            EndpointDisabled: Nothing is sent to it.
        """
        now = datetime.now(UTC)
        if not now - timedelta(days=KEPT_DAYS) <= since <= now:
            raise InvalidInput.field("/since", "out_of_range", f"a moment of the last {KEPT_DAYS} days")
        last = await repository_events.lock(connection)
        endpoint = await self._listening(connection, endpoint_id)
        after = await repository_webhooks.stored_before(connection, since)
        await repository_endpoints.start_replay(connection, endpoint.id, after, last)
        await _note(connection, "replay", actor, str(endpoint_id))
        return msgspec.structs.replace(endpoint, replay_after=after)

    async def go_on_replaying(self) -> int:
        """Move all replays on to their ends; return how many deliveries were made."""
        async with self._database.connection() as connection:
            waiting = await repository_endpoints.replays(connection)
        return sum([await self._replayed(endpoint_id) for endpoint_id in waiting])

    async def _replayed(self, endpoint_id: UUID) -> int:
        made = 0
        while (bite := await self._database.run(lambda connection: self._bite(connection, endpoint_id))) is not None:
            made += bite
        return made

    async def _bite(self, connection: Connection, endpoint_id: UUID) -> int | None:
        """Look at some events of a replay; None where it has come to its end."""
        stretch = await repository_endpoints.replay_stretch(connection, endpoint_id)
        endpoint = await repository_endpoints.endpoint(connection, endpoint_id)
        if stretch is None or endpoint is None:
            return None
        after, until = stretch
        reached, events = await repository_webhooks.missing(connection, endpoint_id, after=after, until=until, limit=_BITE)
        made = await repository_webhooks.add(connection, fan_out(events, [endpoint], new_id))
        await repository_webhooks.revive(connection, endpoint_id, after=after, until=reached)
        await repository_endpoints.note_replayed(connection, endpoint_id, reached if reached < until else None)
        return made

    async def _listening(self, connection: Connection, endpoint_id: UUID) -> Endpoint:
        found = await self._endpoints.present(connection, endpoint_id)
        if not found.enabled:
            raise EndpointDisabled
        return found


def _test_event(endpoint: Endpoint) -> PublicEvent:
    now = datetime.now(UTC)
    data = msgspec.Raw(msgspec.json.encode({"endpoint_id": endpoint.id, "description": endpoint.description}))
    return PublicEvent(id=new_id(), type=TEST, timestamp=now, object_id=endpoint.id, sequence=endpoint.version, data=data)


async def _note(connection: Connection, action: str, actor: UUID, target: str) -> None:
    await outbox.insert(connection, [admin_action("sync", f"webhook_endpoint.{action}", actor, target)])
