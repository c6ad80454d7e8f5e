"""What went wrong is an error in its span, so that a collector which keeps errors keeps it; what was answered is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import msgspec
import pytest
from nats.js.api import KeyValueConfig

from careforall.kit import context
from careforall.kit.batch import GroupCommit
from careforall.kit.bus import Bus
from careforall.kit.consumer import Consumer, Runner
from careforall.kit.context import Cause
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message
from careforall.kit.errors import NotFound
from careforall.kit.tracing import Tracing
from careforall.payments.gateways.base import GatewayRefused
from careforall_testing.giving import DONATIONS
from careforall_testing.platform import Platform, platform
from careforall_testing.plumbing import Bells, connected, numbers, opened, publish, relay_of, runner_of, running, store
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls, own_nats
from careforall_testing.span_sink import SpanSink, span_sink, traceparent

POISON = 13


@pytest.fixture
async def sink() -> AsyncIterator[SpanSink]:
    async with span_sink() as found:
        yield found


def kinds(sink: SpanSink) -> dict[str, str]:
    """By name of a span what its error is called, or nothing."""
    assert all(span.failed == ("error.type" in span.attributes) for span in sink.spans)
    return {span.name: span.attributes.get("error.type", "") for span in sink.spans}


async def test_what_is_raised_is_an_error_unless_it_is_an_answer(sink: SpanSink) -> None:
    tracing = Tracing("teller", otlp_url=f"{sink.url}/v1/traces")
    for name, error in (("asked", None), ("silent", TimeoutError("words")), ("declined", GatewayRefused("declined", "words"))):
        with suppress(TimeoutError, GatewayRefused), tracing.span(name, traceparent(), answers=(GatewayRefused,)):
            if error is not None:
                raise error
    await asyncio.to_thread(tracing.close)
    await sink.has({"asked", "silent", "declined"})
    assert kinds(sink) == {"asked": "", "silent": "TimeoutError", "declined": ""}
    assert not [span for span in sink.spans if "words" in str(span)], "texts may tell who gave"


async def test_a_message_whose_handler_fails_is_an_error_and_its_neighbours_are_none(
    sink: SpanSink, database: Database, bus: Bus, bell: Bells
) -> None:
    tracing = Tracing("ear", otlp_url=f"{sink.url}/v1/traces")
    traces = {number: traceparent() for number in (1, POISON, 2)}

    async def poisoned(_: Connection, messages: Sequence[Message[Any]]) -> None:
        if any(message.event.number == POISON for message in messages):
            raise ValueError(POISON)

    sealed = [msgspec.json.decode(bell.sealed(number)) | {"traceparent": traces[number]} for number in traces]
    consumer = Consumer(
        name=f"{bell.name}-ear", stream=bell.stream.name, events=(bell.event,), handler=poisoned, attempts=1, batch=64
    )
    await publish(bus, bell.subject, *map(msgspec.json.encode, sealed))
    async with running(Runner(consumer, database, bus, tracing).run()):
        await eventually(lambda: _arrived(sink, 3), what="a span for each message")
    await asyncio.to_thread(tracing.close)
    failed = {span.trace_id: span.attributes.get("error.type") for span in sink.spans if span.failed}
    assert failed == {traces[POISON].split("-")[1]: "ValueError"}


async def test_all_who_share_a_transaction_have_it_in_their_traces(sink: SpanSink, kit_url: str) -> None:
    tracing = Tracing("teller", otlp_url=f"{sink.url}/v1/traces")
    parents = [traceparent(), traceparent(), None]

    async def write(connection: Connection, items: Sequence[int]) -> list[int]:
        await connection.execute("SELECT 1")
        return list(items)

    async def submit(batch: GroupCommit[int, int], number: int) -> int:
        context.enter(Cause(traceparent=parents[number]))
        return await batch.submit(number, key=str(number))

    async with opened(kit_url, tracing=tracing) as database:
        batch: GroupCommit[int, int] = GroupCommit("test", database, write)
        await asyncio.gather(*(asyncio.ensure_future(submit(batch, number)) for number in range(3)))
    await asyncio.to_thread(tracing.close)
    await sink.has({"transaction bells"})
    spans = {f"00-{span.trace_id}-{span.parent_id}-01": span for span in sink.spans}
    assert set(spans) == {parent for parent in parents if parent}
    assert {span.attributes["db.namespace"] for span in sink.spans} == {"bells"}
    assert {span.attributes["db.operation.batch.size"] for span in sink.spans} == {"2"}
    [first] = [span for span in sink.spans if not span.links]
    assert [span.links for span in sink.spans if span.links] == [(first.span_id,)]


async def test_what_a_transaction_refuses_is_no_error_and_what_it_cannot_do_is_one(sink: SpanSink, kit_url: str) -> None:
    tracing = Tracing("teller", otlp_url=f"{sink.url}/v1/traces")

    async def refused(_: Connection) -> None:
        raise NotFound

    async def impossible(connection: Connection) -> None:
        await connection.execute("SELECT 1 / 0")

    async with opened(kit_url, tracing=tracing) as database:
        for work in (refused, impossible):
            with suppress(NotFound, asyncpg.DivisionByZeroError):
                await database.run(work, shared_by=[traceparent()])
        await database.fetch("SELECT 1")
    await asyncio.to_thread(tracing.close)
    await sink.has({"transaction bells"})
    assert sorted(span.attributes.get("error.type", "") for span in sink.spans) == ["", "DivisionByZeroError"]


async def test_a_message_is_processed_as_what_followed_from_its_sending(
    sink: SpanSink, kit_url: str, bus: Bus, bell: Bells
) -> None:
    tracing = Tracing("ear", otlp_url=f"{sink.url}/v1/traces")
    heard, silent = (
        msgspec.structs.replace(bell.ring(number), traceparent=parent) for number, parent in ((1, traceparent()), (2, None))
    )
    async with opened(kit_url, tracing=tracing) as database:
        await store(database, [heard, silent])
        runner = runner_of(bell, database, bus, tracing=tracing)
        async with running(relay_of(bell, database, bus, tracing=tracing).run(), runner.run()):
            await eventually(lambda: _effects(database, 2), what="both are heard")
    await asyncio.to_thread(tracing.close)
    await sink.has({f"send {bell.subject}", f"process {bell.subject}", "transaction bells"})
    send, process, transaction = (
        next(span for span in sink.spans if span.name.startswith(name)) for name in ("send", "process", "transaction")
    )
    assert len(sink.spans) == 3, sink.names()
    assert f"00-{send.trace_id}-{send.parent_id}-01" == heard.traceparent
    assert (process.parent_id, transaction.parent_id) == (send.span_id, process.span_id)
    assert send.attributes["messaging.message.id"] == process.attributes["messaging.message.id"] == str(heard.id)


async def test_a_request_is_an_error_where_the_server_failed_and_not_where_the_caller_did(
    sink: SpanSink, servers: ServerUrls
) -> None:
    with own_nats() as broker:
        urls = ServerUrls(postgres=servers.postgres, nats=broker.url, redis=servers.redis)
        settings = {"CAREFORALL_OTLP_URL": f"{sink.url}/v1/traces", "CAREFORALL_STREAM_MAX_BYTES": "67108864"}
        async with platform(urls, ["donations"], **settings) as made:
            await made.client.post(DONATIONS, json={}, headers={"traceparent": traceparent()})
            await sink.has({f"POST {DONATIONS}"})
            assert kinds(sink)[f"POST {DONATIONS}"] == ""
            await _degrade(broker.url)
            await eventually(lambda: _refused(made), within_s=10, what="503")
            await eventually(lambda: _failed(sink, "503"), what="the span of a 503")


async def _degrade(url: str) -> None:
    async with connected(url) as bus:
        bucket = await bus.jetstream.create_key_value(KeyValueConfig(bucket="cfa-flags", history=1, ttl=30))
        await bucket.put("degraded", b'{"active": true}')


async def _refused(made: Platform) -> bool:
    return (await made.client.post(DONATIONS, json={}, headers={"traceparent": traceparent()})).status_code == 503


async def _failed(sink: SpanSink, reason: str) -> bool:
    return any(span.failed and span.attributes["error.type"] == reason for span in sink.spans)


async def _effects(database: Database, count: int) -> bool:
    return len(await numbers(database)) == count


async def _arrived(sink: SpanSink, count: int) -> bool:
    return len(sink.spans) == count
