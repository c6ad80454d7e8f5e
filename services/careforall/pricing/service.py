"""The use cases of pricing, one group each; what handlers, queries, jobs and consumers call."""

import msgspec

from careforall.contracts.pricing import CouponsAsked, CouponsTold, CouponTold, HeldQuoteAsked
from careforall.kit import json
from careforall.kit.db import Connection, Database
from careforall.kit.http.limits import Limit, Limiter
from careforall.kit.learning import MOST_ASKED
from careforall.kit.service import Ask
from careforall.pricing import events, repository, repository_coupons
from careforall.pricing.administration import Coupons, Rules
from careforall.pricing.checkouts import Checkouts
from careforall.pricing.domain import MOST_DEMAND_HOURS
from careforall.pricing.projection import Projection
from careforall.pricing.quoting import Quoting
from careforall.pricing.settings import PricingSettings

_KEPT_DAYS = 90


class PricingService:
    """Everything pricing can do."""

    def __init__(self, database: Database, settings: PricingSettings, limiter: Limiter, ask: Ask) -> None:
        self.database = database
        self.coupons = Coupons(database)
        self.rules = Rules(database)
        self.projection = Projection()
        self.quoting = Quoting(database, self.projection, ask)
        self.checkouts = Checkouts(
            database,
            self.quoting,
            grace=settings.hold_grace_seconds,
            batch_size=settings.batch_size,
            flights=settings.batch_flights,
        )
        self._limiter = limiter
        self._limit = Limit("quotes", settings.rate_quotes)

    async def answer_quote(self, payload: bytes) -> bytes:
        """Answer `query.pricing.quote`."""
        return json.encode(await self.quoting.quote(msgspec.json.decode(payload, type=HeldQuoteAsked)))

    async def answer_coupons_of(self, payload: bytes) -> bytes:
        """Answer `query.pricing.coupons_of`, from what is committed."""
        codes = msgspec.json.decode(payload, type=CouponsAsked).codes[:MOST_ASKED]
        async with self.database.connection() as connection:
            found = await repository_coupons.coupons_of(connection, codes)
        told = [CouponTold(version=one.version, coupon=events.state(one)) for one in found.values()]
        return json.encode(CouponsTold(coupons=told))

    async def count_quote(self, client: str) -> None:
        """Count a public quote.

        Raises:
            TooManyRequests: This address asked too often.
        """
        await self._limiter.hit(self._limit, client)

    async def prune(self) -> None:
        """Forget sales at which no rule looks, and steps and prices of long ago."""

        async def work(connection: Connection) -> None:
            await repository.forget_demand(connection, MOST_DEMAND_HOURS + 1)
            await repository_coupons.forget_steps(connection, _KEPT_DAYS)

        await self.database.run(work)
