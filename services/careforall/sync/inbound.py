"""What targets tell us: verified, judged once, applied in the same transaction; an echo of our own change changes nothing."""

import time
from collections.abc import Callable, Mapping
from typing import Protocol
from uuid import UUID

import msgspec

from careforall.kit import crash, json
from careforall.kit.context import current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput
from careforall.kit.idempotency import Answer
from careforall.kit.signatures import Headers
from careforall.sync import repository, repository_deliveries
from careforall.sync.domain import Customer, Delivery, Told, judge
from careforall.sync.errors import CallUnderWay, InvalidSignature, TargetNotSetUp
from careforall.sync.metrics import INBOUND
from careforall.sync.schemas import InboundOut
from careforall.sync.service import SyncService


class Scheme(Protocol):
    """How a target proves that an event is its own."""

    async def holds(self, headers: Headers, body: bytes, now: float) -> bool:
        """Whether the signature in the headers is right for the body."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """How the events of one target come in: their proof and their translation."""

    scheme: Scheme
    read: Callable[[bytes], Told]


class Inbound:
    """Receives the events of all targets in one process.

    Args:
        channels: Whose events are taken, by target.
    """

    def __init__(
        self,
        database: Database,
        service: SyncService,
        channels: Mapping[str, Channel],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._service = service
        self._channels = channels
        self._clock = clock

    @property
    def targets(self) -> tuple[str, ...]:
        """Whose events are taken."""
        return tuple(self._channels)

    async def receive(self, target: str, headers: Headers, body: bytes) -> Answer:
        """Take one delivery and return what the target is told; a repeat gets the same.

        Raises:
            TargetNotSetUp: We know no secret of such a target; nothing is stored.
            InvalidSignature: It is not signed with a secret of ours, or too long ago; nothing is stored.
            Malformed: It is signed, and no event; nothing is stored.
            CallUnderWay: It cannot be judged before a call of ours has an answer; nothing is stored, told again it is.
        """
        channel = self._channels.get(target)
        if channel is None:
            raise TargetNotSetUp
        if not await channel.scheme.holds(headers, body, self._clock()):
            raise InvalidSignature
        told = channel.read(body)
        answer = await self._database.run(lambda connection: self._take(connection, target, told))
        crash.point("webhook.after_commit")
        return answer

    async def _take(self, connection: Connection, target: str, told: Told) -> Answer:
        if not await repository.note_told(connection, target, told):
            before = await repository.judged_before(connection, target, told.event_id)
            found = InboundOut(status=before["status"], reason=before["reason"])
            return Answer(status=200, body=json.encode(found), replayed=True)
        customer_id, found = await self._judged(connection, target, told)
        await repository.note_judged(
            connection, target, told.event_id, customer_id=customer_id, status=found.status, reason=found.reason
        )
        INBOUND.labels(target=target, outcome=found.reason or found.status).inc()
        return Answer(status=200, body=json.encode(found))

    async def _judged(self, connection: Connection, target: str, told: Told) -> tuple[UUID | None, InboundOut]:
        if told.flaw:
            return None, InboundOut(status="ignored", reason=told.flaw)
        customer_id = await repository_deliveries.customer_of(connection, target, told.external_id) or told.customer_id
        customer = await repository.locked(connection, customer_id) if customer_id else None
        delivery = await repository_deliveries.of_customer(connection, customer.id, target) if customer else None
        if customer is None or delivery is None or delivery.external_id not in {None, told.external_id}:
            return None, InboundOut(status="ignored", reason="unknown_object")
        return customer.id, await self._applied(connection, target, told, customer, delivery)

    async def _applied(
        self, connection: Connection, target: str, told: Told, customer: Customer, delivery: Delivery
    ) -> InboundOut:
        decided = judge(told, delivery, deleted_here=customer.deleted_at is not None)
        match decided:
            case "wait":
                raise CallUnderWay
            case "apply":
                return await self._taken_over(connection, target, told, customer, delivery)
            case "delete":
                await self._service.end_there(connection, customer, delivery, told, target)
            case "recreate":
                await repository_deliveries.forget(connection, delivery, current().traceparent)
            case _:
                return InboundOut(status="ignored", reason=decided)
        return InboundOut(status="processed")

    async def _taken_over(
        self, connection: Connection, target: str, told: Told, customer: Customer, delivery: Delivery
    ) -> InboundOut:
        """Apply a change, unless we could not keep it: a mail that is none, or that another customer has."""
        others = await repository.customers(connection, told.content.email if told.content else "", None, 1)
        if any(other.id != customer.id for other in others):
            return InboundOut(status="ignored", reason="email_taken")
        try:
            await self._service.take_over(connection, customer, delivery, told, target)
        except InvalidInput:
            return InboundOut(status="ignored", reason="not_acceptable")
        return InboundOut(status="processed")
