"""Captured payments whose gift or order is not completed: their state is sent again, and who stays behind is told to a person.

Payments may not read gifts and orders, so it asks their owners in which state they are, and announces the absolute state of the
payments that still wait again, under a new id: consumers that have it skip it. Nothing of unknown ones is refunded here by
itself: a database restored from a backup would look the same for thousands of them, and a refund cannot be taken back. An order
that its owner knows to have ended without its buyer's money is another matter: what was paid for it goes back.
"""

from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from uuid import UUID

import msgspec
import structlog

from careforall.contracts.donations import GIFT_STATES, GiftStates, GiftStatesAsked
from careforall.contracts.orders import ORDER_STATES, OrderStates, OrderStatesAsked
from careforall.contracts.payments import SubjectType
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Problem
from careforall.kit.idempotency import Call, fingerprint
from careforall.kit.ids import id_at
from careforall.kit.service import Ask
from careforall.payments import events, repository
from careforall.payments import repository_reconciliation as rows
from careforall.payments.domain import AlarmKind, Intent
from careforall.payments.metrics import ALARMS, UNFINISHED
from careforall.payments.reconciling import Reconciling
from careforall.payments.records import Alarm, Changes
from careforall.payments.refunding import Refunding
from careforall.payments.schemas import RefundOrder

log = structlog.get_logger(__name__)

_PAGE = 200
_DONE = frozenset({"COMPLETED", "REFUNDED"})
_DONE_ORDERS = frozenset({"CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "RETURNED", "REFUNDED"})
_ENDED_ORDERS = frozenset({"FAILED", "CANCELLED"})


class Completing:
    """Looks at each payment of a gift soon after it was asked for, once no payer can be late any more, and a last time.

    The last look comes first in a pass, and goes no further than the look before it had come by then: whoever is announced
    again has until the next pass, also where this process was away and all the looks are due at once.

    Args:
        soon: Seconds until a gift should be complete.
        late: Seconds until nobody can pay an intent any more.
    """

    def __init__(
        self, database: Database, reconciling: Reconciling, refunding: Refunding, ask: Ask, *, soon: float, late: float
    ) -> None:
        self._database = database
        self._refunding = refunding
        self._reconciling = reconciling
        self._ask = ask
        ages = {"last": late + 2 * soon, "soon": soon, "late": late + soon}
        self._ages = {name: timedelta(seconds=age) for name, age in ages.items()}

    async def complete(self) -> int:
        """Look at payments that have come of age since the last time; return how many were announced again."""
        if not await self._reconciling.is_on():
            return 0
        gifts = sum([await self._look(name, "DONATION") for name in self._ages])
        return gifts + sum([await self._look(name, "ORDER") for name in self._ages])

    async def _look(self, age: str, subject: SubjectType) -> int:
        """Walk the intents in the order of their ids, which is the order of their making, up to an age."""
        name = _mark(age, subject)
        announced = 0
        while True:
            async with self._database.snapshot() as connection:
                until = await self._until(connection, age, subject)
                after = await rows.completion_mark(connection, name)
                if until <= after:
                    return announced
                found = await rows.captured_payments(connection, subject, after, until, _PAGE)
            late = await (self._unfinished(found) if subject == "DONATION" else self._unfinished_orders(found))
            reached = found[-1].id if len(found) == _PAGE else until
            await self._database.run(partial(self._announce, name=name, late=late, reached=reached, last=age == "last"))
            announced += len(late)
            if len(found) < _PAGE:
                return announced

    async def _until(self, connection: Connection, age: str, subject: SubjectType) -> UUID:
        """Return up to which intent a look may go."""
        until = id_at(await rows.now(connection) - self._ages[age], 0)
        if age != "last":
            return until
        return min(until, await rows.completion_mark(connection, _mark("late", subject)))

    async def _unfinished(self, intents: Sequence[Intent]) -> list[Intent]:
        """Ask the owner of the gifts which of these are not completed."""
        if not intents:
            return []
        asked = GiftStatesAsked(intent_ids=[intent.id for intent in intents])
        told = msgspec.json.decode(await self._ask(GIFT_STATES, msgspec.json.encode(asked)), type=GiftStates)
        return [intent for intent in intents if told.states.get(intent.id) not in _DONE]

    async def _unfinished_orders(self, intents: Sequence[Intent]) -> list[Intent]:
        """Ask the owner of the orders; send back what was paid for those that have ended without it."""
        if not intents:
            return []
        asked = OrderStatesAsked(intent_ids=[intent.id for intent in intents])
        told = msgspec.json.decode(await self._ask(ORDER_STATES, msgspec.json.encode(asked)), type=OrderStates)
        for intent in intents:
            if told.states.get(intent.id) in _ENDED_ORDERS:
                await self._send_back(intent)
        return [intent for intent in intents if told.states.get(intent.id) not in _DONE_ORDERS | _ENDED_ORDERS]

    async def _send_back(self, intent: Intent) -> None:
        """Refund what was paid for an order that has ended, once."""
        reason = "paid for an order that had ended"
        mark = fingerprint("completing", str(intent.id))
        call = Call(scope="payments.completing", key=str(intent.id), fingerprint=mark)
        try:
            await self._refunding.refund(intent.id, RefundOrder(reason=reason), call=call, by="payments")
        except Problem as error:
            log.warning("payment of an ended order stays", payment_id=str(intent.id), error=str(error))

    async def _announce(self, connection: Connection, *, name: str, late: Sequence[Intent], reached: UUID, last: bool) -> None:
        changes = Changes()
        changes.outbox += [events.snapshot(intent) for intent in late]
        if last:
            changes.alarms += [_alarm(intent) for intent in late]
        await repository.write(connection, changes)
        await rows.note_completion(connection, name, reached)
        UNFINISHED.inc(len(late))
        for intent in late:
            log.warning("captured payment without a completed gift or order", payment_id=str(intent.id), look=name)


def _mark(age: str, subject: SubjectType) -> str:
    return age if subject == "DONATION" else f"orders {age}"


def _alarm(intent: Intent) -> Alarm:
    kind: AlarmKind = "captured_without_order" if intent.subject_type == "ORDER" else "captured_without_gift"
    ALARMS[kind].inc()
    return Alarm(
        kind=kind,
        gateway=intent.captured_via,
        subject_key=str(intent.id),
        payment_id=intent.id,
        detail="the gift or order is not completed, although its payment was announced again: complete or refund it by hand",
    )
