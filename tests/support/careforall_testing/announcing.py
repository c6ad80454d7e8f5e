"""Events told in place of their owner, for tests of whoever hears them."""

from __future__ import annotations

from uuid import UUID

import nats

from careforall.kit.envelope import Event, seal
from careforall.kit.ids import new_id


async def publish(nats_url: str, event: Event, aggregate_id: UUID, version: int) -> None:
    """Publish an event as its owner does."""
    data = seal(
        event,
        subject=event.SUBJECT,
        event_id=new_id(),
        aggregate_id=aggregate_id,
        aggregate_version=version,
        source="test",
        correlation_id="test",
    )
    client = await nats.connect(nats_url)
    try:
        await client.jetstream().publish(event.SUBJECT, data)
    finally:
        await client.close()
