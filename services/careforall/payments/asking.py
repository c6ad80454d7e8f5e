"""Learning from a gateway how its object stands (rule 12): read a version, ask without a lock, apply by version, else start over.

Used for attempts that are due, for payers who come back, and by the reconciler. A webhook that lands between the question and its
answer makes the answer old; it is thrown away and asked for anew.
"""

from collections.abc import Awaitable, Callable
from uuid import UUID

import msgspec
import structlog

from careforall.kit import crash
from careforall.kit.db import Connection, Database
from careforall.payments import repository
from careforall.payments.domain import OBJECT_ENDED, STEPS, DeclineFact, Fact, Intent, StateFact
from careforall.payments.gateways.base import GatewayObject, GatewayRefused, GatewayUnknown
from careforall.payments.gateways.registry import Gateways
from careforall.payments.recording import record

log = structlog.get_logger(__name__)

_TRIES = 3


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """What was learned: the intent before and after, and what the gateway showed."""

    before: Intent
    after: Intent
    shown: GatewayObject

    @property
    def changed(self) -> bool:
        """Whether it was news to us."""
        return self.after.version != self.before.version


Note = Callable[[Connection, Lesson], Awaitable[None]]
"""Writes down a lesson in the transaction that applies it."""


def passing(fact: Fact) -> bool:
    """Whether a fact is a decline after which the object can still be paid."""
    return isinstance(fact, DeclineFact) and fact.code != OBJECT_ENDED


class StillMoving(GatewayUnknown):
    """The payment changed each time we asked; asking later helps."""


class Asking:
    """Asks gateways about intents.

    Args:
        max_attempts: Declines after which an intent fails.
    """

    def __init__(self, database: Database, gateways: Gateways, *, max_attempts: int) -> None:
        self._database = database
        self._gateways = gateways
        self._max_attempts = max_attempts

    async def learn(
        self,
        intent_id: UUID,
        gateway: str,
        gateway_object: str,
        *,
        cause: str = "asked",
        declines: bool = True,
        note: Note | None = None,
    ) -> Lesson | None:
        """Ask about an object of an intent and apply all the gateway says; None while the intent is not here.

        Args:
            intent_id: The intent.
            gateway: Whom to ask.
            gateway_object: The object to ask about.
            cause: Why, in words.
            declines: Whether a decline is news. PayPal tells the same one as often as it is asked, and each would count.
            note: Writes down what was learned.

        Raises:
            GatewayRefused: The gateway does not know the object.
            GatewayNotAsked: It was not asked.
            GatewayUnknown: It did not answer, or the payment would not stand still.
        """
        for _ in range(_TRIES):
            async with self._database.connection() as connection:
                read = await repository.intent(connection, intent_id)
            if read is None:
                return None
            shown = await self._gateways.call(gateway, "show", lambda api: api.show(gateway_object))
            if not declines:
                shown = msgspec.structs.replace(shown, facts=tuple(fact for fact in shown.facts if not passing(fact)))
            crash.point("reconcile.after_ask_before_apply")
            lesson = await self._apply(read, shown, gateway, cause, note)
            if lesson is not None:
                crash.point("reconcile.after_apply")
                await self._let_go(lesson, gateway, gateway_object)
                return lesson
        raise StillMoving(f"{intent_id} changed each time it was asked about")

    async def _let_go(self, lesson: Lesson, gateway: str, gateway_object: str) -> None:
        """Release money that is held for an intent that has ended: nobody would ever take it or let it go."""
        held = any(isinstance(fact, StateFact) and fact.target == "AUTHORIZED" for fact in lesson.shown.facts)
        if not held or STEPS[lesson.after.status]:
            return
        key = f"{gateway_object}:release"
        try:
            await self._gateways.call(gateway, "cancel", lambda api: api.cancel(gateway_object, key=key))
        except GatewayRefused as error:
            log.warning("held money could not be released", payment_id=str(lesson.after.id), error=str(error))

    async def _apply(self, read: Intent, shown: GatewayObject, gateway: str, cause: str, note: Note | None) -> Lesson | None:
        """Apply facts to the version they were asked for, all in one transaction; None where that version is gone."""

        async def work(connection: Connection) -> Lesson | None:
            locked = await repository.lock_intent(connection, read.id)
            if locked is None or locked.version != read.version:
                return None
            for fact in shown.facts:
                _, locked = await record(
                    connection, locked, fact, via=gateway, cause=f"{gateway} {cause}", max_attempts=self._max_attempts
                )
            lesson = Lesson(before=read, after=locked, shown=shown)
            if note is not None:
                await note(connection, lesson)
            return lesson

        return await self._database.run(work)
