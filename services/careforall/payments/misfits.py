"""Events that did not fit have their payment looked at soon: a job reads them from a watermark, so the intake pays nothing."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from careforall.kit.db import Database
from careforall.kit.ids import born_at, id_at
from careforall.payments import repository
from careforall.payments import repository_reconciliation as rows
from careforall.payments.asking import Asking
from careforall.payments.comparing import MISFITS
from careforall.payments.gateways.base import GatewayNotAsked, GatewayRefused, GatewayUnknown
from careforall.payments.gateways.translators import READERS
from careforall.payments.reconciling import Reconciling
from careforall.payments.repository_reconciliation import Look
from careforall.payments.sweeping import Exhausted, Pace

log = structlog.get_logger(__name__)

_PAGE = 500
_BATCH = 50
_LATE = timedelta(minutes=2)
"""How long after its id was made an event may still be committed: so far back each reading begins again."""
_PATIENCE = 12
"""Looks at an event's payment before the hourly comparison is left to find it."""


class Misfits:
    """Reads new misfits and asks about their payments.

    Args:
        per_second: Calls to gateways a second.
    """

    def __init__(self, database: Database, reconciling: Reconciling, asking: Asking, *, per_second: float) -> None:
        self._database = database
        self._reconciling = reconciling
        self._asking = asking
        self._per_second = per_second

    async def look(self) -> int:
        """Read what is new and ask about what is due; return how many were asked about."""
        if not await self._reconciling.is_on():
            return 0
        await self._read()
        due = await self._database.run(lambda connection: rows.due_looks(connection, _BATCH))
        pace = Pace(self._per_second, _BATCH * 8)
        for one in due:
            await self._look(one, pace)
        return len(due)

    async def _read(self) -> None:
        async with self._database.connection() as connection:
            mark = await rows.last_event(connection)
        after = _earlier(mark)
        while True:
            async with self._database.connection() as connection:
                found = await rows.misfits(connection, after, MISFITS, _PAGE)
            if not found:
                return
            after = found[-1]["id"]
            await self._keep(found, max(after, mark or after))
            if len(found) < _PAGE:
                return

    async def _keep(self, found: Sequence[Any], mark: UUID) -> None:
        looks = [_look(row) for row in found]

        async def work(connection: Any) -> None:
            await rows.insert_looks(connection, looks)
            await rows.note_last_event(connection, mark)

        await self._database.run(work)

    async def _look(self, look: Look, pace: Pace) -> None:
        """Ask about every object that can be meant; a payment that is not here yet is looked for again."""
        try:
            outcome = await self._asked(look, pace)
        except (Exhausted, GatewayUnknown, GatewayNotAsked) as error:
            log.info("misfit cannot be looked at yet", event_id=str(look.event_id), error=str(error))
            return
        except GatewayRefused as error:
            outcome = f"refused: {error}"
        if not outcome and look.asked >= _PATIENCE:
            outcome = "payment unknown"
        if outcome:
            await self._database.run(lambda connection: rows.end_look(connection, look.event_id, outcome))

    async def _asked(self, look: Look, pace: Pace) -> str:
        async with self._database.snapshot() as connection:
            owner = look.payment_id or (await repository.intents_of_objects(connection, [look.gateway_object])).get(
                look.gateway_object
            )
            made = await rows.objects_of(connection, owner, look.gateway) if owner else []
        if owner is None:
            return ""
        changed = ""
        for name in made or [look.gateway_object]:
            await pace.step()
            lesson = await self._asking.learn(owner, look.gateway, name, cause="asked after a misfit", declines=False)
            if lesson is None:
                return ""
            changed = f"{changed} {lesson.before.status} > {lesson.after.status}" if lesson.changed else changed
        return changed.strip() or "agrees"


def _earlier(mark: UUID | None) -> UUID | None:
    born = born_at(mark) if mark is not None else None
    return id_at(born - _LATE, 0) if born is not None else None


def _look(row: Any) -> Look:
    reader = READERS.get(row["gateway"])
    told = reader(row["body"]) if reader is not None and row["body"] is not None else None
    return Look(
        event_id=row["id"],
        gateway=row["gateway"],
        gateway_object=told.gateway_object if told is not None else "",
        payment_id=row["payment_id"],
        reason=row["reason"],
    )
