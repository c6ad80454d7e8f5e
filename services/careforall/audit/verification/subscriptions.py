"""Who hears whom: from the parts of the services, or, for a process that knows no other service, from the broker itself."""

from collections.abc import Iterable, Sequence

from careforall.audit.verification.books import Subscription
from careforall.kit.bus import Bus, Stream
from careforall.kit.consumer import Consumer


def of_service(service: str, consumers: Iterable[Consumer]) -> tuple[Subscription, ...]:
    """Return the subscriptions of a service by its own declaration."""
    return tuple(
        Subscription(consumer=one.name, service=service, stream=one.stream, filters=tuple(one.filters())) for one in consumers
    )


async def of_broker(bus: Bus, streams: Sequence[Stream], services: Iterable[str]) -> tuple[Subscription, ...]:
    """Return the durables that the broker has; their names begin with the service they belong to.

    Raises:
        BrokerUnavailable: The broker is away.
    """
    found: list[Subscription] = []
    for stream in streams:
        for info in await bus.jetstream.consumers_info(stream.name):
            name = info.config.durable_name or info.name
            service = next((one for one in services if name.startswith((f"{one}-", f"{one}_"))), None)
            if service is not None:
                filters = tuple(info.config.filter_subjects or [info.config.filter_subject or ">"])
                found.append(Subscription(consumer=name, service=service, stream=stream.name, filters=filters))
    return tuple(found)
