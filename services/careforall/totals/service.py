"""Use cases of totals: folding what donations says, reading it at every level, keeping the levels true."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from uuid import UUID

import asyncpg
import structlog

from careforall.kit.db import Connection, Database
from careforall.kit.errors import PASSING
from careforall.totals import projections, repository
from careforall.totals.domain import CampaignFact, Comparison, Day, Donor, Gift, Reading, Totals
from careforall.totals.levels import Answer, Levels
from careforall.totals.live import Hub, Refresher
from careforall.totals.maintenance import Maintenance

log = structlog.get_logger(__name__)


class TotalsService:
    """What the API and the consumers call."""

    def __init__(
        self, database: Database, *, levels: Levels, refresher: Refresher, hub: Hub, maintenance: Maintenance, warm_campaigns: int
    ) -> None:
        self._database = database
        self._levels = levels
        self._refresher = refresher
        self._hub = hub
        self._maintenance = maintenance
        self._warm_campaigns = warm_campaigns
        self.ready = levels.ready
        """The body of a campaign's totals if this process has it fresh, by the id as written in the path."""

    async def fold(self, connection: Connection, gifts: Sequence[Gift]) -> None:
        """Fold gifts in the consumer's transaction; the upper levels follow after its commit."""
        self._refresher.moved(await projections.fold(connection, gifts))

    async def keep_campaigns(self, connection: Connection, facts: Sequence[CampaignFact]) -> None:
        """Remember campaigns in the consumer's transaction, each in its newest version."""
        newest = {fact.campaign_id: fact for fact in sorted(facts, key=lambda fact: fact.version)}
        await repository.keep_campaigns(connection, [newest[campaign_id] for campaign_id in sorted(newest)])

    async def totals(self, campaign_id: UUID, *, realtime: bool = False) -> Answer:
        """Return a campaign's totals from the uppermost level, or with `realtime` from the counters."""
        return await (self._levels.realtime(campaign_id) if realtime else self._levels.read(campaign_id))

    async def many(self, campaign_ids: Sequence[UUID]) -> list[Reading]:
        """Return the totals of several campaigns in the order asked for."""
        return [answer.reading for answer in await self._levels.read_all(campaign_ids)]

    async def top(self, limit: int) -> list[Reading]:
        """Return the campaigns that raised most, highest first."""
        return await self.many(await self._levels.top(limit))

    async def follow(self, campaign_id: UUID) -> AsyncIterator[Reading | None]:
        """Return a live stream: the present totals, then each newer ones; None is a heartbeat.

        Raises:
            TooManyStreams: This process serves as many as it may.
        """
        self._hub.admit()
        first = await self._levels.realtime(campaign_id)
        return self._live(first.reading)

    async def _live(self, first: Reading) -> AsyncIterator[Reading | None]:
        yield first
        async for totals in self._hub.follow(first.totals):
            yield _now(totals) if totals is not None else None

    async def analytics(self, campaign_id: UUID) -> tuple[Totals, list[Day], list[Donor]]:
        """Return a campaign by day and by donor, as of the last refresh of their views."""
        answer = await self._levels.read(campaign_id)
        days = await repository.days(self._database, campaign_id)
        return answer.reading.totals, days, await repository.top_donors(self._database, campaign_id)

    async def refresh_view(self) -> datetime:
        """Refresh the materialised view of totals."""
        return await self._maintenance.refresh_totals()

    async def compare(self) -> Comparison:
        """Recount everything now; what is found stands in the metrics until the next comparison."""
        return await self._maintenance.compare()

    async def refresh_campaign(self, campaign_id: UUID) -> datetime:
        """Put a campaign's counters into Redis again."""
        self._refresher.warm([campaign_id])
        await self._refresher.turn()
        return datetime.now(UTC)

    async def warm(self) -> None:
        """Put the most popular campaigns into Redis; without a database there is nothing to warm."""
        try:
            self._refresher.warm(await repository.popular(self._database, self._warm_campaigns))
        except (*PASSING, asyncpg.PostgresError) as error:
            log.info("totals not warmed", error=repr(error))

    async def prewarm(self) -> None:
        """Warm and return once it is done, for a command that ends afterwards."""
        await self.warm()
        await self._refresher.turn()


def _now(totals: Totals) -> Reading:
    return Reading(totals=totals, level="realtime", cached_at=datetime.now(UTC))
