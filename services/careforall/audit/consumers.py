"""Every event of every stream becomes a row of the log."""

from collections.abc import Sequence

from careforall.audit.service import AuditService
from careforall.contracts import streams
from careforall.kit.bus import Stream
from careforall.kit.consumer import AnyEvent, Consumer
from careforall.kit.db import Connection
from careforall.kit.envelope import Message

BATCH = 500


def consumers(service: AuditService) -> tuple[Consumer, ...]:
    """Return one durable per stream; all feed the same function."""

    async def on_events(connection: Connection, messages: Sequence[Message[AnyEvent]]) -> None:
        await service.append(connection, messages)

    def consumer(stream: Stream) -> Consumer:
        return Consumer(
            name=f"audit-{stream.name.lower()}",
            stream=stream.name,
            events=(AnyEvent,),
            subjects=stream.subjects,
            handler=on_events,
            batch=BATCH,
        )

    return tuple(consumer(stream) for stream in streams.ALL if stream is not streams.ADVISORIES)
