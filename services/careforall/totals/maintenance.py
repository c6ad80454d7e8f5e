"""Timed work on the totals: refreshing the views, and the nightly comparison of counters, view and base."""

import time
from datetime import datetime

import structlog

from careforall.kit.db import Database
from careforall.totals import repository
from careforall.totals.domain import Comparison
from careforall.totals.metrics import COMPLETED, DRIFT, RAISED, VIEW_SECONDS

log = structlog.get_logger(__name__)

_DEADLINE = 900.0


class Maintenance:
    """Long statements, on sessions of their own: the pool's deadlines are for requests."""

    def __init__(self, database: Database, *, comparison_hours: float) -> None:
        self._database = database
        self._hours = comparison_hours

    async def refresh(self, view: str) -> datetime:
        """Refresh one view while it is read; return the time from which it counts.

        Raises:
            KeyError: There is no such view.
        """
        began = time.monotonic()
        session = await self._database.dedicated()
        try:
            refreshed = await repository.refresh_view(session, view, deadline=_DEADLINE)
        finally:
            session.terminate()
        VIEW_SECONDS.labels(view=view).set(time.monotonic() - began)
        return refreshed

    async def refresh_totals(self) -> datetime:
        """Refresh the view of totals."""
        return await self.refresh("campaign_totals")

    async def refresh_analytics(self) -> None:
        """Refresh the views by day and by donor."""
        await self.refresh("campaign_days")
        await self.refresh("campaign_top_donors")

    async def observe(self) -> None:
        """Set what the metrics say was raised, and what the last comparison found, whichever process made it."""
        for currency, raised, gifts in await repository.raised(self._database):
            RAISED.labels(currency=currency).set(raised)
            COMPLETED.labels(currency=currency).set(gifts)
        for source, campaigns in await repository.last_drift(self._database):
            DRIFT.labels(source=source).set(campaigns)

    async def compare_when_due(self) -> None:
        """Compare once a night, whichever process comes first and however often processes restart."""
        hours = await repository.hours_since_comparison(self._database)
        if hours is None or hours >= self._hours:
            await self.compare()

    async def compare(self) -> Comparison:
        """Refresh the view, recount everything and report any difference as a row, a line of the log and then a metric."""
        await self.refresh_totals()
        session = await self._database.dedicated()
        try:
            found = await repository.compare(session, deadline=_DEADLINE)
            await repository.keep_comparison(session, found)
        finally:
            session.terminate()
        for difference in found.differences:
            log.error("totals drift", campaign_id=str(difference.campaign_id), source=difference.source)
        log.info("totals compared", campaigns=found.campaigns, differences=len(found.differences))
        await self.observe()
        return found
