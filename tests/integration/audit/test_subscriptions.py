"""Who hears whom is the same whether the services say it or the broker."""

from __future__ import annotations

from typing import Any

from nats.js.api import AckPolicy, ConsumerConfig

from careforall.audit.consumers import consumers
from careforall.audit.verification.books import Subscription
from careforall.audit.verification.subscriptions import of_broker, of_service
from careforall.contracts import streams
from careforall.kit.bus import Bus
from careforall.launch.servers import Nats


async def test_the_broker_knows_the_same_subscriptions_as_the_declarations(log: Any, own_nats: Nats) -> None:
    declared = consumers(log.service)
    used = tuple(stream for stream in streams.ALL if stream is not streams.ADVISORIES)
    bus = Bus(own_nats.url, name="test")
    await bus.open(wait=10)
    try:
        await bus.ensure_streams(used)
        for one in declared:
            config = ConsumerConfig(durable_name=one.name, ack_policy=AckPolicy.EXPLICIT, filter_subjects=one.filters())
            await bus.ensure_consumer(one.stream, config)
        found = await of_broker(bus, used, ["audit", "donations"])
    finally:
        await bus.close()

    def by_name(subscriptions: tuple[Subscription, ...]) -> dict[str, Subscription]:
        return {one.consumer: one for one in subscriptions}

    assert by_name(found) == by_name(of_service("audit", declared))
    assert len(found) == len(used)
    assert by_name(found)["audit-donations"].hears("campaigns.created")
    assert not by_name(found)["audit-donations"].hears("payments.captured")
