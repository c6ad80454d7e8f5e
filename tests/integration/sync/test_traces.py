"""What is sent out is in the trace of what it is sent for: an event, a change, or somebody who asked for it again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest

from careforall.contracts.accounts import UserErased
from careforall.kit import context
from careforall.kit.context import Cause
from careforall.kit.ids import new_id
from careforall.kit.tracing import Tracing, trace_id_of
from careforall.sync.consumers import consumers
from careforall.sync.publishing import Publishing
from careforall_testing.hook_receiver import Receiver
from careforall_testing.hooks import STAFF, Hooks
from careforall_testing.mirroring import Mirror
from careforall_testing.public_events import gift, message
from careforall_testing.span_sink import SpanSink, span_sink, traceparent


@pytest.fixture
async def sink() -> AsyncIterator[SpanSink]:
    async with span_sink() as found:
        yield found


def tracing(sink: SpanSink) -> Tracing:
    return Tracing("sync", otlp_url=f"{sink.url}/v1/traces")


def caused_by(parent: str) -> None:
    context.enter(Cause(traceparent=parent))


async def ended(tracing: Tracing, sink: SpanSink) -> list[tuple[str, str, str]]:
    """Name, trace and error of each span, in the order in which they ended."""
    await asyncio.to_thread(tracing.close)
    return [(span.name, span.trace_id, span.attributes.get("error.type", "")) for span in sink.spans]


async def test_a_webhook_is_posted_in_the_trace_of_its_event(hooks: Hooks, receiver: Receiver, sink: SpanSink) -> None:
    hooks.tracing = tracing(sink)
    await hooks.endpoint(receiver.url)
    parents = [traceparent(), traceparent()]
    told = [msgspec.structs.replace(message(gift()), traceparent=parent) for parent in (*parents, None)]
    await hooks.database.run(lambda connection: hooks.publishing.store(connection, told))
    assert await hooks.settled() == 3
    found = await ended(hooks.tracing, sink)
    assert sorted(found) == sorted(("webhook post", trace_id_of(parent), "") for parent in parents)


async def test_a_post_that_had_no_answer_is_an_error_and_staff_who_have_it_repeated_see_theirs(
    hooks: Hooks, receiver: Receiver, sink: SpanSink
) -> None:
    hooks.tracing = tracing(sink)
    made = await hooks.endpoint(receiver.url)
    tested, retried = traceparent(), traceparent()
    receiver.answer = lambda _: None
    caused_by(tested)
    delivery = await hooks.database.run(lambda connection: hooks.delivering.test(connection, made.id, STAFF))
    assert await hooks.settled(pauses=()) == 1
    receiver.answer = lambda _: 200
    caused_by(retried)
    await hooks.database.run(lambda connection: hooks.delivering.retry(connection, made.id, delivery.id, STAFF))
    assert await hooks.settled() == 1
    assert await ended(hooks.tracing, sink) == [
        ("webhook post", trace_id_of(tested), "NoAnswer"),
        ("webhook post", trace_id_of(retried), ""),
    ]


async def test_a_customer_is_carried_in_the_trace_of_each_change(mirror: Mirror, sink: SpanSink) -> None:
    mirror.tracing = tracing(sink)
    made_in, changed_in, erased_in = (traceparent() for _ in range(3))
    caused_by(made_in)
    made = await mirror.create()
    await mirror.carry()
    caused_by(changed_in)
    await mirror.change(made, name="Another")
    await mirror.carry()
    caused_by(traceparent())  # of whoever else asks meanwhile: a consumer has the cause of its message alone
    await erase(mirror, erased_in)
    await mirror.carry()
    assert await ended(mirror.tracing, sink) == [
        ("stripe create", trace_id_of(made_in), ""),
        ("stripe update", trace_id_of(changed_in), ""),
        ("stripe delete", trace_id_of(erased_in), ""),
    ]
    [event] = await mirror.database.fetch("SELECT traceparent FROM outbox WHERE event_type = 'customer.deleted'")
    assert event["traceparent"] == erased_in


async def erase(mirror: Mirror, parent: str) -> None:
    """Have a person erased as their message does."""
    event = UserErased(user_id=new_id(), email="one@example.org", donor_key="x")
    told = msgspec.structs.replace(message(event), traceparent=parent)
    accounts, *_ = consumers(mirror.service, Publishing(mirror.database))
    await mirror.database.run(lambda connection: accounts.handler(connection, [told]))
