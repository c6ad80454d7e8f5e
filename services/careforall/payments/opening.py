"""The rows of attempts around a call to a gateway: planned before it, noted after it, both in transactions that payers share.

A plan is made under the intent's lock, so that two clicks make one attempt; whoever comes second finds it.
"""

from collections.abc import Sequence
from typing import Literal
from uuid import UUID

import msgspec

from careforall.kit.batch import Busy, GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.ids import new_id
from careforall.payments import repository
from careforall.payments.domain import OPEN_ATTEMPTS, Intent
from careforall.payments.locking import lock
from careforall.payments.records import Attempt

UNKNOWN_AFTER = 2.0
"""Seconds until an attempt whose outcome is unknown is asked about."""
PENDING_AFTER = 900.0
"""Seconds until one that waits for its payer is asked about."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to do for a payer: call the gateway for this attempt, go to a known address, or nothing."""

    intent: Intent
    todo: Literal["call", "redirect", "show"]
    attempt: Attempt | None = None


class _Payer(msgspec.Struct, frozen=True, kw_only=True):
    intent_id: UUID
    id: UUID = msgspec.field(default_factory=new_id)


class Openings:
    """Plans attempts and notes what came of them.

    Args:
        order: Gateways to fall back to, in this order; empty leaves an intent with its own.
        call_seconds: How long a call with all its repeats may take; an attempt nobody heard of since is asked about.
        max_batch: Attempts per transaction.
        flights: Transactions in flight at once.
    """

    def __init__(self, database: Database, *, order: Sequence[str], call_seconds: float, max_batch: int, flights: int) -> None:
        self.order = tuple(order)
        self._call_seconds = call_seconds
        self._plans: GroupCommit[_Payer, Plan] = GroupCommit(
            "payment-plans", database, self._write_plans, max_batch=max_batch, flights=flights
        )
        self._notes: GroupCommit[Attempt, Attempt] = GroupCommit(
            "payment-attempts", database, _write_notes, swift=_write_notes, max_batch=max_batch, flights=flights
        )

    async def plan(self, intent_id: UUID) -> Plan:
        """Decide what to do for a payer and record the attempt it takes.

        Raises:
            PaymentNotFound: The intent is unknown.
        """
        payer = _Payer(intent_id=intent_id)
        return await self._plans.submit(payer, key=f"{intent_id}:{payer.id}")

    async def note(self, attempt: Attempt) -> Attempt:
        """Record what a call to a gateway brought."""
        return await self._notes.submit(attempt, key=f"{attempt.intent_id}:{attempt.number}:{new_id()}")

    async def drain(self) -> None:
        """Wait until everything accepted so far is written."""
        await self._plans.drain()
        await self._notes.drain()

    async def _write_plans(self, connection: Connection, payers: Sequence[_Payer]) -> Sequence[Plan | Exception | Busy]:
        locked, others = await lock(connection, [payer.intent_id for payer in payers])
        desk = _Desk(await repository.last_attempts(connection, list(locked)), await repository.expired(connection, list(locked)))
        plans = [
            await self._planned(connection, desk, locked[payer.intent_id])
            if payer.intent_id in locked
            else others[payer.intent_id]
            for payer in payers
        ]
        await repository.insert_attempts(connection, desk.new)
        return plans

    async def _planned(self, connection: Connection, desk: "_Desk", intent: Intent) -> Plan:
        if intent.status != "INITIATED" or intent.id in desk.expired:
            return Plan(intent=intent, todo="show")
        last = desk.last.get(intent.id)
        if last is not None and last.status == "OPEN":
            return Plan(intent=intent, todo="redirect", attempt=last)
        if last is not None and last.status in OPEN_ATTEMPTS:
            return Plan(intent=intent, todo="show", attempt=last)
        return await self._next_attempt(connection, desk, intent, last)

    async def _next_attempt(self, connection: Connection, desk: "_Desk", intent: Intent, last: Attempt | None) -> Plan:
        """Try the object that stayed payable after a decline once more; where there is none, call a gateway for a new one."""
        if last is not None and last.payable_object and last.redirect_url:
            again = last.again()
            desk.put(again, PENDING_AFTER)
            return Plan(intent=intent, todo="redirect", attempt=again)
        tried = await repository.attempts(connection, intent.id) if last is not None else []
        attempt = Attempt(
            intent_id=intent.id,
            number=last.number + 1 if last else 1,
            gateway=next_gateway(intent.gateway, tried, self.order),
            status="INITIATED",
        )
        desk.put(attempt, self._call_seconds)
        return Plan(intent=intent, todo="call", attempt=attempt)


class _Desk:
    """What one batch of plans knows, and the attempts it makes."""

    def __init__(self, last: dict[UUID, Attempt], expired: set[UUID]) -> None:
        self.last = last
        self.expired = expired
        self.new: list[tuple[Attempt, float]] = []

    def put(self, attempt: Attempt, ask_seconds: float) -> None:
        """Make an attempt, which whoever comes next finds."""
        self.last[attempt.intent_id] = attempt
        self.new.append((attempt, ask_seconds))


async def _write_notes(connection: Connection, attempts: Sequence[Attempt]) -> Sequence[Attempt]:
    seconds = [UNKNOWN_AFTER if attempt.status == "UNKNOWN" else PENDING_AFTER for attempt in attempts]
    await repository.record_attempts(connection, attempts, seconds)
    return attempts


def next_gateway(own: str, tried: Sequence[Attempt], order: Sequence[str]) -> str:
    """Return whom the next attempt goes to: after each attempt known to have made nothing payable, the next gateway in order.

    An attempt that made an object is never followed by another gateway's: both could be paid. Where all have refused, the own one
    of the intent is tried again.
    """
    if any(attempt.gateway_object or attempt.status != "FAILED" for attempt in tried if attempt.number):
        return own
    refused = {attempt.gateway for attempt in tried}
    return next((name for name in (own, *order) if name not in refused), own)
