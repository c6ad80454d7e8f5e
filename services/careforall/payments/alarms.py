"""What waits for a person: staff list it, look, and settle it with a word of what came of it.

Settling moves no money. What was wrong is put right where it is wrong, at the gateway or by a refund, and the next
comparison sees it.
"""

from uuid import UUID

from careforall.kit.db import Connection, Database
from careforall.kit.text import refuse_texts, text_error
from careforall.payments import repository_alarms
from careforall.payments.errors import AlarmNotFound
from careforall.payments.repository_alarms import RaisedAlarm


class Alarms:
    """Alarms as staff see them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def found(self, before: UUID | None, limit: int, *, settled: bool | None) -> list[RaisedAlarm]:
        """Return alarms, newest first."""
        async with self._database.connection() as connection:
            return await repository_alarms.alarms(connection, before, limit, settled=settled)

    async def settle(self, identifier: UUID, *, by: str, note: str) -> RaisedAlarm:
        """Settle an alarm; the first who does is remembered.

        Raises:
            AlarmNotFound: There is none.
            InvalidInput: The note is too long or holds control characters.
        """
        refuse_texts(text_error("/note", note, limit=1000))

        async def work(connection: Connection) -> RaisedAlarm:
            await repository_alarms.settle(connection, identifier, by=by, note=note)
            found = await repository_alarms.alarm(connection, identifier)
            if found is None:
                raise AlarmNotFound
            return found

        return await self._database.run(work)
