"""What the channels share whose provider is our own database: a batch is one statement, and one bad letter harms no other."""

from collections.abc import Awaitable, Callable, Sequence

import asyncpg

from careforall.kit.db import Connection, Database
from careforall.kit.errors import Unavailable
from careforall.notifications.channels.base import Letter
from careforall.notifications.domain import SENT, Outcome

Write = Callable[[Connection, Sequence[Letter]], Awaitable[None]]


async def store(database: Database, letters: Sequence[Letter], write: Write) -> list[Outcome]:
    """Write letters in one transaction, halving the batch around one that the database refuses."""
    try:
        await database.run(lambda connection: write(connection, letters))
    except Unavailable as error:
        return [Outcome(error=error.code, uncounted=True)] * len(letters)
    except (asyncpg.PostgresError, ValueError) as error:
        if len(letters) == 1:
            return [Outcome(error=f"{type(error).__name__}: {error}"[:500], lasting=True)]
        middle = len(letters) // 2
        return [*await store(database, letters[:middle], write), *await store(database, letters[middle:], write)]
    return [SENT] * len(letters)
