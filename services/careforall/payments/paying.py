"""From the pay page to the gateway: attempts are recorded before a gateway is called, and what is unknown is asked about.

No transaction is open while a gateway is called (rule 12). The key `intent:attempt` makes every call repeatable. What a gateway
answers to an order of ours (open, capture, cancel) is a fact about that order, judged like a webhook; how things stand is learned
by `asking`, which applies by version. Payers of the same moment share transactions (rule 1).
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Literal
from uuid import UUID, uuid5

import msgspec
import structlog

from careforall.kit import context
from careforall.kit.db import Connection, Database
from careforall.payments import repository
from careforall.payments import repository_reconciliation as rows
from careforall.payments.asking import Asking, passing
from careforall.payments.domain import Fact, Intent, StateFact
from careforall.payments.errors import GatewayAway, IllegalTransition, PaymentNotFound
from careforall.payments.gateways.base import (
    Gateway,
    GatewayNotAsked,
    GatewayObject,
    GatewayRefused,
    GatewayUnknown,
)
from careforall.payments.gateways.registry import Gateways
from careforall.payments.opening import UNKNOWN_AFTER, Openings
from careforall.payments.recording import Recorder, Told
from careforall.payments.records import Attempt
from careforall.payments.repository_reconciliation import Look

log = structlog.get_logger(__name__)

_RETURNED_AFTER = 3.0
_BATCH = 50

AskObject = Callable[[Gateway], Awaitable[GatewayObject]]


class Paper(msgspec.Struct, frozen=True, kw_only=True):
    """What the pay page shows."""

    intent: Intent
    attempt: Attempt | None
    expired: bool
    asking: bool = False
    """Whether a payer who came back after a decline has had us ask, and we have not heard yet."""


class Paying:
    """Starts attempts and settles what became of them.

    Args:
        public_url: Where payers come back to.
    """

    def __init__(
        self,
        database: Database,
        gateways: Gateways,
        asking: Asking,
        openings: Openings,
        recorder: Recorder,
        *,
        public_url: str,
    ) -> None:
        self._database = database
        self._gateways = gateways
        self._asking = asking
        self._openings = openings
        self._recorder = recorder
        self._public_url = public_url.rstrip("/")

    async def paper(self, identifier: UUID, *, returned: bool = False) -> Paper | None:
        """Return what the pay page shows, or None while the intent is unknown; a returned payer has us ask soon."""

        async def read(connection: Connection) -> Paper | None:
            intent = await repository.intent(connection, identifier)
            if intent is None:
                return None
            if returned and intent.status == "INITIATED":
                await repository.ask_soon(connection, identifier, _RETURNED_AFTER)
            last = (await repository.last_attempts(connection, [identifier])).get(identifier)
            expired = identifier in await repository.expired(connection, [identifier])
            asking = returned and intent.status == "INITIATED" and await _asks_after_all(connection, last)
            return Paper(intent=intent, attempt=last, expired=expired, asking=asking)

        return await self._database.run(read)

    async def pay(self, identifier: UUID) -> str | None:
        """Start or continue paying; return the gateway's address, or None where the page tells how things stand.

        Raises:
            PaymentNotFound: The intent is unknown.
        """
        opened = await self.open(identifier)
        return opened.redirect_url or None if opened is not None else None

    async def open(self, identifier: UUID) -> Attempt | None:
        """Return the attempt by which an intent can be paid now, making its object at the gateway; None where there is none.

        Raises:
            PaymentNotFound: The intent is unknown.
        """
        for _ in range(1 + len(self._openings.order)):
            plan = await self._openings.plan(identifier)
            if plan.todo != "call" or plan.attempt is None:
                return plan.attempt if plan.todo == "redirect" else None
            opened = await self._open(plan.intent, plan.attempt)
            if opened.status != "FAILED":
                return opened
        return None

    async def pay_by_token(self, attempt: Attempt, token: str, *, key: str) -> Intent:
        """Pay an attempt's object by a token of its gateway and record what came of it.

        Raises:
            GatewayDeclined: The means of payment was declined.
            GatewayRefused: It cannot be paid like this, or is in another state by now.
            GatewayNotAsked: Nothing happened.
            GatewayUnknown: Nobody knows yet; it is asked about soon.
        """
        try:
            shown = await self._gateways.call(
                attempt.gateway, "pay", lambda gateway: gateway.pay(attempt.gateway_object, token, key=key)
            )
        except GatewayUnknown:
            await self._database.run(lambda connection: repository.ask_soon(connection, attempt.intent_id, UNKNOWN_AFTER))
            raise
        return await self._record(attempt.intent_id, shown.facts, attempt.gateway, "paid by token")

    async def drain(self) -> None:
        """Wait until everything accepted so far is written."""
        await self._openings.drain()
        await self._recorder.drain()

    async def settle_attempts(self) -> int:
        """Ask about attempts whose outcome is unknown or long pending; return how many were asked about."""
        due = await self._database.run(lambda connection: repository.due_attempts(connection, _BATCH))
        for attempt in due:
            await self._ask(attempt)
        return len(due)

    async def capture(self, identifier: UUID) -> Intent:
        """Take authorised money; doing it again changes nothing.

        Raises:
            IllegalTransition: Nothing is authorised.
            GatewayAway: Nobody knows yet; a repeat settles it.
        """
        return await self.capture_intent(await self._read(identifier))

    async def capture_intent(self, intent: Intent) -> Intent:
        """Take the authorised money of an intent that was just read; see `capture`."""
        if intent.status == "AUTHORIZED":
            key, held = f"{intent.id}:capture", intent.gateway_object
            intent = await self._told(intent, "capture", lambda gateway: gateway.capture(held, key=key), intent.captured_via)
        if intent.captured_amount == 0:
            raise IllegalTransition(f"A payment that is {intent.status} cannot be captured.", status_of_payment=intent.status)
        return intent

    async def void(self, identifier: UUID) -> Intent:
        """Release authorised money, or end an intent nobody has paid; doing it again changes nothing.

        Raises:
            IllegalTransition: The money is captured: refund it instead.
            GatewayAway: Nobody knows yet; a repeat settles it.
        """
        paper = await self.paper(identifier)
        if paper is None:
            raise PaymentNotFound
        intent, last = paper.intent, paper.attempt
        if intent.status == "AUTHORIZED":
            intent = await self._end(intent, intent.gateway_object, intent.captured_via, "REFUNDED")
        elif intent.status == "INITIATED":
            named = last.payable_object if last is not None else ""
            intent = await self._end(intent, named, last.gateway if last else intent.gateway, "FAILED")
        if intent.captured_amount:
            raise IllegalTransition("The money is captured: refund it instead.", status_of_payment=intent.status)
        return intent

    async def look(self, identifier: UUID) -> Intent:
        """Ask the gateway how the newest object of an intent stands, and return the intent after that.

        Raises:
            PaymentNotFound: The intent is unknown.
        """
        last = (await self._attempts(identifier)).get(identifier)
        if last is not None and last.gateway_object:
            try:
                await self._asking.learn(identifier, last.gateway, last.gateway_object)
            except (GatewayRefused, GatewayNotAsked, GatewayUnknown) as error:
                log.info("gateway cannot be asked", payment_id=str(identifier), error=str(error))
        return await self._read(identifier)

    async def _open(self, intent: Intent, attempt: Attempt, *, again: bool = False) -> Attempt:
        """Call the gateway for a recorded attempt and record what came of it; `again` on the key of an earlier call."""
        key = f"{intent.id}:{attempt.number}"
        back = f"{self._public_url}/pay/{intent.id}?return=1"
        try:
            made = await self._gateways.call(
                attempt.gateway, "open", lambda gateway: gateway.open(intent, key=key, return_url=back)
            )
        except GatewayUnknown as error:
            return await self._note(attempt, status="UNKNOWN", reason=str(error)[:200])
        except (GatewayRefused, GatewayNotAsked) as error:
            if again and isinstance(error, GatewayNotAsked):
                return attempt  # what became of the earlier call is as unknown as before
            return await self._note(attempt, status="FAILED", reason=str(error)[:200], code=error.code[:80])
        opened = await self._note(attempt, status="OPEN", gateway_object=made.id, redirect_url=made.redirect_url)
        if made.facts:
            await self._asking.learn(intent.id, attempt.gateway, made.id)
            return msgspec.structs.replace(opened, redirect_url="")
        return opened

    async def _note(self, attempt: Attempt, **changed: str) -> Attempt:
        return await self._openings.note(msgspec.structs.replace(attempt, **changed))

    async def _ask(self, attempt: Attempt) -> None:
        """Settle an attempt by asking: show its object where we know it, else repeat the call on the same key."""
        paper = await self.paper(attempt.intent_id)
        if paper is None or paper.intent.status != "INITIATED":
            return
        with context.within(paper.intent.cause):
            try:
                await self._settle(paper, attempt)
            except (GatewayRefused, GatewayNotAsked, GatewayUnknown, GatewayAway) as error:
                log.info("attempt cannot be settled yet", payment_id=str(attempt.intent_id), error=str(error))

    async def _settle(self, paper: Paper, attempt: Attempt) -> None:
        if not attempt.gateway_object:
            await self._open(paper.intent, attempt, again=True)
            return
        lesson = await self._asking.learn(attempt.intent_id, attempt.gateway, attempt.gateway_object)
        if paper.expired and lesson is not None and all(passing(fact) for fact in lesson.shown.facts):
            await self._end(paper.intent, attempt.gateway_object, attempt.gateway, "FAILED", reason="expired")

    async def _end(
        self, intent: Intent, gateway_object: str, gateway: str, target: Literal["FAILED", "REFUNDED"], reason: str = "canceled"
    ) -> Intent:
        """End an intent at its gateway first; if it turns out to be paid, that is recorded instead."""
        fact = StateFact(target=target, reason=reason, gateway_object=gateway_object)
        if not gateway_object and target == "FAILED":
            return await self._record(intent.id, (fact,), gateway, reason)
        key = f"{intent.id}:cancel"
        return await self._told(intent, "cancel", lambda api: api.cancel(gateway_object, key=key), gateway, instead=fact)

    async def _told(
        self,
        intent: Intent,
        what: str,
        ask: AskObject,
        gateway: str,
        *,
        instead: StateFact | None = None,
    ) -> Intent:
        """Call and record the answer; what the gateway refuses is explained by how its object stands."""
        try:
            try:
                told = (await self._gateways.call(gateway, what, ask)).facts
                told = tuple(instead if instead is not None and _ended(fact) else fact for fact in told)
            except GatewayRefused as refusal:
                return await self._explained(intent, gateway, refusal)
        except (GatewayUnknown, GatewayNotAsked) as error:
            raise GatewayAway(str(error)) from error
        return await self._record(intent.id, told, gateway, what) if told else await self._read(intent.id)

    async def _explained(self, intent: Intent, gateway: str, refusal: GatewayRefused) -> Intent:
        last = (await self._attempts(intent.id)).get(intent.id)
        named = intent.gateway_object or (last.gateway_object if last else "")
        if not named:
            raise GatewayAway(str(refusal)) from refusal
        try:
            await self._asking.learn(intent.id, gateway, named)
        except GatewayRefused as error:
            raise GatewayAway(str(error)) from error
        return await self._read(intent.id)

    async def _attempts(self, identifier: UUID) -> dict[UUID, Attempt]:
        async with self._database.connection() as connection:
            return await repository.last_attempts(connection, [identifier])

    async def _record(self, identifier: UUID, facts: Sequence[Fact], gateway: str, cause: str) -> Intent:
        return await self._recorder.record(Told(intent_id=identifier, facts=tuple(facts), gateway=gateway, cause=cause))

    async def _read(self, identifier: UUID) -> Intent:
        async with self._database.connection() as connection:
            found = await repository.intent(connection, identifier)
        if found is None:
            raise PaymentNotFound
        return found


async def _asks_after_all(connection: Connection, last: Attempt | None) -> bool:
    """Have a declined object asked about, whose payer came back, and return whether that is still to be done.

    The payer may have paid it by other means, whatever was heard of that. Once for each decline: who only reads the page again
    has tried nothing new, and pressing its button makes an attempt that is asked about by itself.
    """
    if last is None or last.status != "FAILED" or not last.payable_object or not last.redirect_url:
        return False
    look = Look(
        event_id=uuid5(last.intent_id, f"returned:{last.number}"),
        gateway=last.gateway,
        gateway_object=last.gateway_object,
        payment_id=last.intent_id,
        reason="returned",
    )
    return await rows.insert_looks(connection, [look]) > 0 or await rows.is_to_be_looked_at(connection, look.event_id)


def _ended(fact: Fact) -> bool:
    return isinstance(fact, StateFact) and fact.target == "FAILED"
