"""Locking the intents of a batch: those that are free are ours, and whoever wants another one is told why not."""

from collections.abc import Iterable
from uuid import UUID

from careforall.kit.batch import BUSY, Busy
from careforall.kit.db import Connection
from careforall.payments import repository
from careforall.payments.domain import Intent
from careforall.payments.errors import PaymentNotFound


async def lock(connection: Connection, ids: Iterable[UUID]) -> tuple[dict[UUID, Intent], dict[UUID, Busy | PaymentNotFound]]:
    """Lock intents in id order, waiting for nobody.

    Returns:
        Those that are locked, and for each other one its outcome: BUSY where somebody holds it, or that there is none.
    """
    wanted = set(ids)
    locked = await repository.lock_intents(connection, list(wanted))
    missing = wanted - locked.keys()
    held = await repository.existing_intents(connection, list(missing)) if missing else set()
    return locked, {one: BUSY if one in held else PaymentNotFound() for one in missing}
