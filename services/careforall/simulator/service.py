"""Use cases of the simulated company: one public method is one transaction with the events it causes."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal

import msgspec

from careforall.kit import idempotency, json
from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyInUse
from careforall.kit.idempotency import Answer, Call
from careforall.kit.ids import new_id
from careforall.simulator import domain, objects, repository
from careforall.simulator.delivery import Courier
from careforall.simulator.domain import Change, Dispute, Draft, EventSeen, Intent, Refund
from careforall.simulator.errors import BadParameter, BrokenOnPurpose, NoSuchObject, UnexpectedState
from careforall.simulator.objects import IntentObject
from careforall.simulator.repository import Disputed, Held, NewEvent, Window
from careforall.simulator.switches import CallFault, Chances, Switches, call_fault, fate

Button = Literal["pay", "decline", "cancel"]
Action = Callable[[Held], Sequence[Change]]

_RECENT = 50


class Story(msgspec.Struct, frozen=True, kw_only=True):
    """An intent with all that was said about it."""

    intent: Intent
    events: list[EventSeen]


class Overview(msgspec.Struct, frozen=True, kw_only=True):
    """What the company's front page shows."""

    intents: list[Intent]
    events: list[EventSeen]
    switches: Switches


class _Done(msgspec.Struct, frozen=True, kw_only=True):
    body: bytes
    fault: CallFault


class Simulator:
    """The simulated company.

    Args:
        database: Its books.
        courier: Sends storms and shuffles.
        base: Where its pages are, as absolute address.
        fee_points: What it keeps of a payment, in hundredths of a percent.
    """

    def __init__(self, database: Database, courier: Courier, *, base: str, fee_points: int = 0) -> None:
        self._database = database
        self._courier = courier
        self._running: set[str] = set()
        self._base = base
        self._fee_points = fee_points

    async def create_intent(self, call: Call, draft: Draft) -> Answer:
        """Make an intent somebody can pay."""
        domain.check_draft(draft)

        async def work(connection: Connection) -> _Done:
            intent = await repository.insert_intent(connection, _name("pi"), draft)
            turned = await repository.read_switches(connection)
            chances = Chances(turned.switches, f"{intent.number - turned.since}:0")
            return _Done(body=self._shown(intent), fault=call_fault(chances))

        return await self._call(call, work)

    async def confirm(self, call: Call, intent_id: str, token: str) -> Answer:
        """Pay by a token, as a payer does on the hosted page.

        Raises:
            BadParameter: There is no such token.
        """
        button = _TOKENS.get(token)
        if button is None:
            raise BadParameter("payment_method", "token_unknown", f"Use one of {', '.join(_TOKENS)}.")
        if button == "later":
            return await self._call(call, self._looking(intent_id))
        return await self._call(call, self._changing(intent_id, _PRESSED[button]))

    async def capture(self, call: Call, intent_id: str, amount: int | None) -> Answer:
        """Take held money."""
        return await self._call(call, self._changing(intent_id, lambda held: [domain.capture(held.intent, amount)]))

    async def cancel(self, call: Call, intent_id: str, reason: str | None) -> Answer:
        """End an intent without money."""
        return await self._call(call, self._changing(intent_id, lambda held: [domain.cancel(held.intent, reason)]))

    async def refund(
        self, call: Call, intent_id: str, *, amount: int | None, reason: str | None, metadata: Mapping[str, str]
    ) -> Answer:
        """Send money back; answered with the refund."""
        domain.check_metadata(metadata)
        action = _refunding(amount, reason, metadata)

        async def work(connection: Connection) -> _Done:
            held, changes = await self._act(connection, intent_id, action)
            refund = changes[-1].refund
            body = json.encode(objects.refund_object(refund)) if refund else b""
            return _Done(body=body, fault=call_fault(_chances(held)))

        return await self._call(call, work)

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

        async def work(connection: Connection) -> Intent:
            try:
                _, changes = await self._act(connection, intent_id, _PRESSED[button])
            except UnexpectedState:
                return await self._existing(connection, intent_id)
            return changes[-1].intent

        return await self._database.run(work)

    async def control(self, reference: str, action: Action) -> Story:
        """Do to an intent, named by its id or by ours, what a test wants."""

        async def work(connection: Connection) -> Story:
            intent = await self._existing(connection, reference)
            _, changes = await self._act(connection, intent.id, action)
            return Story(intent=changes[-1].intent, events=await repository.events_of(connection, reference))

        return await self._database.run(work)

    async def story(self, reference: str) -> Story:
        """Return an intent, named by its id or the newest for one of ours, with all events of that name.

        Raises:
            NoSuchObject: If there is none.
        """
        async with self._database.connection() as connection:
            intent = await self._existing(connection, reference)
            return Story(intent=intent, events=await repository.events_of(connection, reference))

    async def storm(self, reference: str, times: int) -> Mapping[str, int]:
        """Send all events of an intent many times at once; return how often each answer came."""
        return await self._courier.storm(await self._bodies(reference), times)

    async def shuffle(self, reference: str, *, rounds: int, seed: int) -> Mapping[str, int]:
        """Send all events of an intent in random orders; return how often each answer came."""
        return await self._courier.shuffle(await self._bodies(reference), rounds=rounds, seed=seed)

    async def switches(self) -> Switches:
        """Return how the company misbehaves."""
        async with self._database.connection() as connection:
            return (await repository.read_switches(connection)).switches

    async def turn(self, switches: Switches) -> Switches:
        """Make the company misbehave in exactly this way from now on."""

        async def work(connection: Connection) -> Switches:
            await repository.turn_switches(connection, switches)
            return switches

        return await self._database.run(work)

    async def overview(self) -> Overview:
        """Return what the front page shows."""
        async with self._database.connection() as connection:
            return Overview(
                intents=(await repository.list_intents(connection, Window(limit=_RECENT)))[:_RECENT],
                events=await repository.newest_events(connection, _RECENT),
                switches=(await repository.read_switches(connection)).switches,
            )

    async def _bodies(self, reference: str) -> list[bytes]:
        async with self._database.connection() as connection:
            await self._existing(connection, reference)
            return await repository.bodies_of(connection, reference)

    async def _existing(self, connection: Connection, reference: str) -> Intent:
        found = await repository.newest_intent(connection, _checked(reference))
        if found is None:
            raise NoSuchObject(f"No such payment intent: {reference}")
        return found

    def _changing(self, intent_id: str, action: Action) -> Callable[[Connection], Awaitable[_Done]]:
        async def work(connection: Connection) -> _Done:
            held, changes = await self._act(connection, intent_id, action)
            return _Done(body=self._shown(changes[-1].intent), fault=call_fault(_chances(held)))

        return work

    def _looking(self, intent_id: str) -> Callable[[Connection], Awaitable[_Done]]:
        """The payer has to go to the hosted page first: nothing happens."""

        async def work(connection: Connection) -> _Done:
            held = await repository.hold_intent(connection, _checked(intent_id))
            if held is None:
                raise NoSuchObject(f"No such payment intent: {intent_id}")
            return _Done(body=self._shown(held.intent), fault=call_fault(_chances(held)))

        return work

    async def _act(self, connection: Connection, intent_id: str, action: Action) -> tuple[Held, Sequence[Change]]:
        held = await repository.hold_intent(connection, _checked(intent_id))
        if held is None:
            raise NoSuchObject(f"No such payment intent: {intent_id}")
        changes = action(held)
        await repository.update_intent(connection, changes[-1].intent)
        for change in changes:
            await self._note(connection, held, change)
        return held, changes

    async def _note(self, connection: Connection, held: Held, change: Change) -> None:
        if change.refund is not None:
            await repository.insert_refund(connection, change.refund)
        if change.dispute is not None and change.dispute != held.dispute:
            await repository.put_dispute(connection, change.dispute)
        await repository.insert_events(connection, self._events(held, change))

    def _events(self, held: Held, change: Change) -> list[NewEvent]:
        events = []
        for kind in change.events:
            event_id = _name("evt")
            body = objects.event_body(event_id, kind, change, base=self._base, now=held.now, fee_points=self._fee_points)
            plan = fate(_chances(held), kind)
            events.append(NewEvent(id=event_id, type=kind, payment_intent=change.intent.id, body=body, fate=plan))
        return events

    def show(self, intent: Intent) -> IntentObject:
        """Return an intent as it is shown to callers."""
        return objects.intent_object(intent, self._base, fee_points=self._fee_points)

    def _shown(self, intent: Intent) -> bytes:
        return json.encode(self.show(intent))

    async def _call(self, call: Call, work: Callable[[Connection], Awaitable[_Done]]) -> Answer:
        """Work once per Idempotency-Key; a first answer may go wrong on purpose, the replay of it never does."""
        fault = CallFault()

        async def noted(connection: Connection) -> tuple[int, bytes]:
            nonlocal fault
            done = await work(connection)
            fault = done.fault
            return 200, done.body

        if call.key in self._running:
            raise IdempotencyKeyInUse
        self._running.add(call.key)
        try:
            answer = await idempotency.once(self._database, call, noted)
        finally:
            self._running.discard(call.key)
        if not answer.replayed:
            await _misbehave(fault)
        return answer


def succeed(held: Held) -> Sequence[Change]:
    """Pay, whatever the switch `decline_rate` says."""
    paid = domain.pay(held.intent, _name("ch"))
    if paid.intent.status == "succeeded" and _chances(held).hits("dispute", held.turned.switches.dispute):
        return [paid, domain.open_dispute(paid.intent, dispute_id=_name("dp"), now=held.now)]
    return [paid]


def decline(held: Held) -> Sequence[Change]:
    """Refuse the payer once."""
    return [domain.decline(held.intent, _name("ch"))]


def abandon(held: Held) -> Sequence[Change]:
    """End the intent as the payer who turns away does."""
    return [domain.cancel(held.intent, "abandoned")]


def refund_from_outside(amount: int | None) -> Action:
    """Send money back as somebody in the company's own console would."""
    return _refunding(amount, "requested_by_customer", {})


def dispute(outcome: Literal["won", "lost"] | None) -> Action:
    """Open a dispute, or decide the open one."""

    def action(held: Held) -> Sequence[Change]:
        if outcome is None and held.dispute is not None:
            raise UnexpectedState("The charge is disputed already.")
        if outcome is None:
            return [domain.open_dispute(held.intent, dispute_id=_name("dp"), now=held.now)]
        return [domain.close_dispute(held.intent, held.dispute, outcome)]

    return action


def _refunding(amount: int | None, reason: str | None, metadata: Mapping[str, str]) -> Action:
    def action(held: Held) -> Sequence[Change]:
        change = domain.refund(
            held.intent,
            held.dispute,
            refund_id=_name("re"),
            amount=amount,
            reason=reason,
            metadata=metadata,
            now=held.now,
        )
        return [change]

    return action


def _pressed_pay(held: Held) -> Sequence[Change]:
    if _chances(held).hits("decline", held.turned.switches.decline_rate):
        return decline(held)
    return succeed(held)


_TOKENS: Mapping[str, Button | Literal["later"]] = {"tok_ok": "pay", "tok_declined": "decline", "tok_later": "later"}
"""What the company does with a means of payment."""
_PRESSED: Mapping[Button, Action] = {"pay": _pressed_pay, "decline": decline, "cancel": abandon}


def _chances(held: Held) -> Chances:
    return Chances(held.turned.switches, f"{held.intent.number - held.turned.since}:{held.intent.version}")


async def _misbehave(fault: CallFault) -> None:
    if fault.wait_ms:
        await asyncio.sleep(fault.wait_ms / 1000)
    if fault.error:
        raise BrokenOnPurpose


def _name(kind: str) -> str:
    return f"{kind}_{new_id().hex}"


def _checked(reference: str) -> str:
    """Refuse what can be nobody's id before it reaches the database."""
    if not reference.isascii() or not reference.isprintable():
        raise NoSuchObject
    return reference
