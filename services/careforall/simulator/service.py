"""Use cases of the simulated company: what callers, payers and tests want of it, and what it shows of its books."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import msgspec

from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyInUse
from careforall.kit.idempotency import Answer, Call
from careforall.kit.ids import new_id
from careforall.simulator import actions, domain, repository, repository_events
from careforall.simulator.acting import Acting, Wanted
from careforall.simulator.actions import BY_TOKEN, PRESSED, Action, Button, new_name
from careforall.simulator.delivery import Courier
from careforall.simulator.domain import Dispute, Draft, EventSeen, Intent, Refund
from careforall.simulator.errors import BadParameter, BrokenOnPurpose, NoSuchObject, UnexpectedState
from careforall.simulator.objects import IntentObject
from careforall.simulator.repository import Disputed, Window
from careforall.simulator.switches import CallFault, Switches

_RECENT = 50
_BY_HAND = "by hand"
"""Scope of the keys under which payers and tests act; each of them is new."""


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with all that was said about it."""

    intent: Intent
    events: list[EventSeen]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the company's front page shows."""

    intents: list[Intent]
    events: list[EventSeen]
    switches: Switches


class Simulator:
    """The simulated company.

    Args:
        database: Its books.
        acting: Writes what changes them.
        courier: Sends storms and shuffles.
    """

    def __init__(self, database: Database, acting: Acting, courier: Courier) -> None:
        self._database = database
        self._acting = acting
        self._courier = courier
        self._running: set[str] = set()

    async def create_intent(self, call: Call, draft: Draft) -> Answer:
        """Make an intent somebody can pay."""
        domain.check_draft(draft)
        return await self._once(Wanted(call=call, intent_id=new_name("pi"), work=draft))

    async def confirm(self, call: Call, intent_id: str, token: str) -> Answer:
        """Pay by a token, as a payer does on the hosted page.

        Raises:
            BadParameter: There is no such token.
        """
        action = BY_TOKEN.get(token)
        if action is None:
            raise BadParameter("payment_method", "token_unknown", f"Use one of {', '.join(BY_TOKEN)}.")
        return await self._once(Wanted(call=call, intent_id=_checked(intent_id), work=action))

    async def capture(self, call: Call, intent_id: str, amount: int | None) -> Answer:
        """Take held money."""
        return await self._once(Wanted(call=call, intent_id=_checked(intent_id), work=actions.capture(amount)))

    async def cancel(self, call: Call, intent_id: str, reason: str | None) -> Answer:
        """End an intent without money."""
        return await self._once(Wanted(call=call, intent_id=_checked(intent_id), work=actions.cancel(reason)))

    async def refund(
        self, call: Call, intent_id: str, *, amount: int | None, reason: str | None, metadata: Mapping[str, str]
    ) -> Answer:
        """Send money back; answered with the refund."""
        domain.check_metadata(metadata)
        action = actions.refund(amount, reason, metadata)
        return await self._once(Wanted(call=call, intent_id=_checked(intent_id), work=action))

    async def intent(self, intent_id: str) -> Intent:
        """Return an intent.

        Raises:
            NoSuchObject: If there is none.
        """
        async with self._database.connection() as connection:
            found = await repository.find_intent(connection, _checked(intent_id))
        if found is None:
            raise NoSuchObject(f"No such payment intent: {intent_id}")
        return found

    async def retrieve_refund(self, refund_id: str) -> Refund:
        """Return a refund.

        Raises:
            NoSuchObject: If there is none.
        """
        async with self._database.connection() as connection:
            found = await repository.find_refund(connection, _checked(refund_id))
        if found is None:
            raise NoSuchObject(f"No such refund: {refund_id}")
        return found

    async def intents(self, window: Window) -> list[Intent]:
        """Return a page of intents and one more if there are more."""
        async with self._database.connection() as connection:
            return await repository.list_intents(connection, window)

    async def refunds(self, window: Window) -> list[Refund]:
        """Return a page of refunds and one more if there are more."""
        async with self._database.connection() as connection:
            return await repository.list_refunds(connection, window)

    async def dispute(self, dispute_id: str) -> Dispute:
        """Return a dispute.

        Raises:
            NoSuchObject: If there is none.
        """
        async with self._database.connection() as connection:
            found = await repository.find_dispute(connection, _checked(dispute_id))
        if found is None:
            raise NoSuchObject(f"No such dispute: {dispute_id}")
        return found

    async def disputes(self, window: Window) -> list[Disputed]:
        """Return a page of disputes and one more if there are more."""
        async with self._database.connection() as connection:
            return await repository.list_disputes(connection, window)

    async def press(self, intent_id: str, button: Button) -> Intent:
        """Do what the payer pressed on the hosted page; an intent that cannot do it any more stays as it is."""
        with suppress(UnexpectedState):
            await self._by_hand(_checked(intent_id), PRESSED[button])
        return await self.intent(intent_id)

    async def control(self, reference: str, action: Action) -> Story:
        """Do to an intent, named by its id or by ours, what a test wants."""
        async with self._database.connection() as connection:
            intent = await self._existing(connection, reference)
        await self._by_hand(intent.id, action)
        return await self.story(reference)

    async def story(self, reference: str) -> Story:
        """Return an intent, named by its id or the newest for one of ours, with all events of that name.

        Raises:
            NoSuchObject: If there is none.
        """
        async with self._database.snapshot() as connection:
            intent = await self._existing(connection, reference)
            return Story(intent=intent, events=await repository_events.events_of(connection, reference))

    async def storm(self, reference: str, times: int) -> Mapping[str, int]:
        """Send all events of an intent many times at once; return how often each answer came."""
        return await self._courier.storm(await self._bodies(reference), times)

    async def shuffle(self, reference: str, *, rounds: int, seed: int) -> Mapping[str, int]:
        """Send all events of an intent in random orders; return how often each answer came."""
        return await self._courier.shuffle(await self._bodies(reference), rounds=rounds, seed=seed)

    async def switches(self) -> Switches:
        """Return how the company misbehaves."""
        async with self._database.connection() as connection:
            return (await repository.read_moment(connection)).switches

    async def turn(self, switches: Switches) -> Switches:
        """Make the company misbehave in exactly this way from now on."""

        async def work(connection: Connection) -> Switches:
            await repository.turn_switches(connection, switches)
            return switches

        return await self._database.run(work)

    async def overview(self) -> Overview:
        """Return what the front page shows."""
        async with self._database.snapshot() as connection:
            return Overview(
                intents=(await repository.list_intents(connection, Window(limit=_RECENT)))[:_RECENT],
                events=await repository_events.newest_events(connection, _RECENT),
                switches=(await repository.read_moment(connection)).switches,
            )

    async def _bodies(self, reference: str) -> list[bytes]:
        async with self._database.snapshot() as connection:
            await self._existing(connection, reference)
            return await repository_events.bodies_of(connection, reference)

    async def _existing(self, connection: Connection, reference: str) -> Intent:
        found = await repository.newest_intent(connection, _checked(reference))
        if found is None:
            raise NoSuchObject(f"No such payment intent: {reference}")
        return found

    def show(self, intent: Intent) -> IntentObject:
        """Return an intent as it is shown to callers."""
        return self._acting.show(intent)

    async def _once(self, wanted: Wanted) -> Answer:
        """Work once per Idempotency-Key; a first answer may go wrong on purpose, the replay of it never does.

        Raises:
            IdempotencyKeyInUse: The first call under this key still runs.
        """
        key = wanted.call.key
        if key in self._running:
            raise IdempotencyKeyInUse
        self._running.add(key)
        try:
            done = await self._acting.submit(wanted)
        finally:
            self._running.discard(key)
        await _misbehave(done.fault)
        return done.answer

    async def _by_hand(self, intent_id: str, action: Action) -> None:
        """Act among the calls, under a key of one's own, so that an unknown COMMIT does nothing twice."""
        call = Call(scope=_BY_HAND, key=str(new_id()), fingerprint=b"")
        await self._acting.submit(Wanted(call=call, intent_id=intent_id, work=action))


async def _misbehave(fault: CallFault) -> None:
    if fault.wait_ms:
        await asyncio.sleep(fault.wait_ms / 1000)
    if fault.error:
        raise BrokenOnPurpose


def _checked(reference: str) -> str:
    """Refuse what can be nobody's id before it reaches the database."""
    if not reference.isascii() or not reference.isprintable():
        raise NoSuchObject
    return reference
