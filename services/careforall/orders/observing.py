"""Looks now and then how sagas and sales stand, for the metrics; every process looks for itself, so that all say the same."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import get_args

from careforall.kit.db import Database
from careforall.kit.ids import id_at
from careforall.orders import repository_figures
from careforall.orders.metrics import OPEN_SAGAS, PARKED, SAGA_AGE, SALES
from careforall.orders.saga_words import Step

_DAY = timedelta(days=1)
STAGES: tuple[str, ...] = (*get_args(Step), "ready", "payer")


class Observing:
    """Sets the gauges of orders."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def look(self) -> None:
        """Set what the metrics say."""
        async with self._database.snapshot() as connection:
            found = await repository_figures.open_sagas(connection)
            sales = await repository_figures.sales(connection, id_at(datetime.now(UTC) - _DAY, 0))
        by_stage = {one.stage: one for one in found}
        for stage in STAGES:
            one = by_stage.get(stage)
            OPEN_SAGAS.labels(step=stage).set(one.open if one else 0)
            SAGA_AGE.labels(step=stage).set(one.oldest if one else 0)
        PARKED.set(sum(one.parked for one in found))
        _tell_sales(sales)


def _tell_sales(sales: Mapping[str, float]) -> None:
    """Set sales; a currency nobody paid in any more is forgotten rather than kept at its last value."""
    SALES.clear()
    for currency, amount in sales.items():
        SALES.labels(currency=currency).set(amount)
