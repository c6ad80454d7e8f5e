"""Captured payments whose gift is not completed: their state is sent again, and who stays behind is told to a person.

Payments may not read the gifts, so it asks their owner in which state they are, and announces the absolute state of the payments
that still wait again, under a new id: consumers that have it skip it. Nothing is refunded here by itself: a database of gifts
restored from a backup would look the same for thousands of them, and a refund cannot be taken back.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import msgspec
import structlog

from careforall.contracts.donations import GIFT_STATES, GiftStates, GiftStatesAsked
from careforall.kit.db import Connection, Database
from careforall.kit.ids import id_at
from careforall.kit.service import Ask
from careforall.payments import events, repository
from careforall.payments import repository_reconciliation as rows
from careforall.payments.domain import Intent
from careforall.payments.metrics import ALARMS, UNFINISHED
from careforall.payments.reconciling import Reconciling
from careforall.payments.records import Alarm, Changes

log = structlog.get_logger(__name__)

_PAGE = 200
_DONE = frozenset({"COMPLETED", "REFUNDED"})


class Completing:
    """Looks at each payment of a gift soon after it was asked for, once no payer can be late any more, and a last time.

    Args:
        soon: Seconds until a gift should be complete.
        late: Seconds until nobody can pay an intent any more.
    """

    def __init__(self, database: Database, reconciling: Reconciling, ask: Ask, *, soon: float, late: float) -> None:
        self._database = database
        self._reconciling = reconciling
        self._ask = ask
        ages = {"soon": soon, "late": late + soon, "last": late + 2 * soon}
        self._ages = {name: timedelta(seconds=age) for name, age in ages.items()}

    async def complete(self) -> int:
        """Look at payments that have come of age since the last time; return how many were announced again."""
        if not await self._reconciling.is_on():
            return 0
        return sum([await self._look(name) for name in self._ages])

    async def _look(self, name: str) -> int:
        """Walk the intents in the order of their ids, which is the order of their making, up to an age."""
        announced = 0
        while True:
            async with self._database.connection() as connection:
                until = id_at(await rows.now(connection) - self._ages[name], 0)
                after = await rows.completion_mark(connection, name)
                found = await rows.captured_gifts(connection, after, until, _PAGE)
            late = await self._unfinished(found)
            reached = found[-1].id if len(found) == _PAGE else until
            await self._database.run(partial(self._announce, name=name, late=late, reached=reached))
            announced += len(late)
            if len(found) < _PAGE:
                return announced

    async def _unfinished(self, intents: Sequence[Intent]) -> list[Intent]:
        """Ask the owner of the gifts which of these are not completed."""
        if not intents:
            return []
        asked = GiftStatesAsked(intent_ids=[intent.id for intent in intents])
        told = msgspec.json.decode(await self._ask(GIFT_STATES, msgspec.json.encode(asked)), type=GiftStates)
        return [intent for intent in intents if told.states.get(intent.id) not in _DONE]

    async def _announce(self, connection: Connection, *, name: str, late: Sequence[Intent], reached: UUID) -> None:
        changes = Changes()
        changes.outbox += [events.snapshot(intent) for intent in late]
        if name == "last":
            changes.alarms += [_alarm(intent) for intent in late]
        await repository.write(connection, changes)
        await rows.note_completion(connection, name, reached)
        UNFINISHED.inc(len(late))
        for intent in late:
            log.warning("captured payment without a completed gift", payment_id=str(intent.id), look=name)


def _alarm(intent: Intent) -> Alarm:
    ALARMS.labels(kind="captured_without_gift").inc()
    return Alarm(
        kind="captured_without_gift",
        gateway=intent.captured_via,
        subject_key=str(intent.id),
        payment_id=intent.id,
        detail="the gift is not completed, although its payment was announced again: complete or refund it by hand",
    )
