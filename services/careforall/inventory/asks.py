"""What other services ask: one function a subject, a step each. What is at fault in the question itself is answered REFUSED."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar
from uuid import UUID

import msgspec

from careforall.contracts import inventory
from careforall.contracts.inventory import (
    Availability,
    AvailabilityAsked,
    Extend,
    Reserve,
    Reserved,
    Restock,
    Settle,
    Settled,
    SoldOut,
)
from careforall.inventory import domain
from careforall.inventory.domain import Action, ConfirmHold, ExtendHold, ReleaseHold, ReserveStock, ReturnSold
from careforall.inventory.keeping import Asked
from careforall.inventory.service import InventoryService
from careforall.kit import json
from careforall.kit.context import current
from careforall.kit.errors import InvalidInput, Problem
from careforall.kit.idempotency import fingerprint

Q = TypeVar("Q", Reserve, Extend, Settle, Restock)

_SERVER_ERROR = 500
_CAUSE = 200


def queries(service: InventoryService) -> Mapping[str, Callable[[bytes], Awaitable[bytes]]]:
    """Return the request subjects of this service with what answers them."""

    async def reserve(payload: bytes) -> bytes:
        return await _answer(service, payload, Reserve, _reserve, inventory.RESERVE)

    async def extend(payload: bytes) -> bytes:
        return await _answer(service, payload, Extend, _extend, inventory.EXTEND)

    async def confirm(payload: bytes) -> bytes:
        return await _answer(service, payload, Settle, _confirm, inventory.CONFIRM)

    async def release(payload: bytes) -> bytes:
        return await _answer(service, payload, Settle, _release, inventory.RELEASE)

    async def restock(payload: bytes) -> bytes:
        return await _answer(service, payload, Restock, _restock, inventory.RESTOCK)

    async def availability(payload: bytes) -> bytes:
        asked = msgspec.json.decode(payload, type=AvailabilityAsked)
        return json.encode(Availability(available=await service.available(asked.skus)))

    async def sold_out(payload: bytes) -> bytes:
        asked = msgspec.json.decode(payload, type=AvailabilityAsked)
        return json.encode(SoldOut(skus=await service.sold_out(asked.skus)))

    return {
        inventory.RESERVE: reserve,
        inventory.EXTEND: extend,
        inventory.CONFIRM: confirm,
        inventory.RELEASE: release,
        inventory.RESTOCK: restock,
        inventory.AVAILABILITY: availability,
        inventory.SOLD_OUT: sold_out,
    }


async def _answer(
    service: InventoryService, payload: bytes, kind: type[Q], action_of: Callable[[Q], Action], subject: str
) -> bytes:
    """Do the step that is asked for; what is away is raised, so that nobody takes it for an answer."""
    try:
        question = msgspec.json.decode(payload, type=kind)
        step_id: UUID = question.step_id
        mark = fingerprint(subject, json.encode(question))
        return (await service.do(Asked(step_id, mark, action_of(question), current()))).body
    except msgspec.MsgspecError:
        return _refused(kind, "malformed")
    except Problem as error:
        if error.status >= _SERVER_ERROR:
            raise
        return _refused(kind, error.errors[0].code if error.errors else error.code)


def _refused(kind: type[Reserve | Extend | Settle | Restock], reason: str) -> bytes:
    if kind is Reserve:
        return json.encode(Reserved(outcome="REFUSED", reason=reason))
    return json.encode(Settled(outcome="REFUSED", reason=reason))


def _reserve(question: Reserve) -> Action:
    return ReserveStock(
        holder_id=question.holder_id,
        saga_id=question.saga_id,
        demand=domain.demand_of(question.lines),
        seconds=domain.checked_seconds(question.seconds),
        region=question.region,
        takes=tuple(question.takes),
    )


def _extend(question: Extend) -> Action:
    if question.until.tzinfo is None:
        raise InvalidInput.field("/until", "invalid_time", "say the time with its zone")
    return ExtendHold(holder_id=question.holder_id, until=question.until, pinned=question.pinned)


def _confirm(question: Settle) -> Action:
    return ConfirmHold(holder_id=question.holder_id, cause=_cause(question.cause))


def _release(question: Settle) -> Action:
    return ReleaseHold(holder_id=question.holder_id, cause=_cause(question.cause))


def _restock(question: Restock) -> Action:
    return ReturnSold(holder_id=question.holder_id, demand=domain.demand_of(question.lines), cause=_cause(question.cause))


def _cause(text: str) -> str:
    """Return a cause as it can be stored and shown."""
    return "".join(character for character in text if character.isprintable())[:_CAUSE]
