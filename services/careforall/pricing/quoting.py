"""Making prices: the rules as they stand, what is known of the goods, and the calculation."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from careforall.contracts.pricing import HeldQuoteAsked, Quote, QuoteAsked
from careforall.contracts.products import learning
from careforall.kit.db import Connection, Database
from careforall.kit.ids import NIL, new_id
from careforall.kit.reads import SharedRead
from careforall.kit.service import Ask
from careforall.pricing import calculation, repository, repository_coupons
from careforall.pricing.calculation import Priced
from careforall.pricing.coupons import CouponState
from careforall.pricing.domain import Offer, Rulebook
from careforall.pricing.holding import Hands
from careforall.pricing.projection import Projection

CouponStates = Mapping[str, CouponState]
"""How each coupon of a basket stands for who asks."""


class Goods:
    """Rules and offers of one moment, with which baskets are priced."""

    def __init__(self, rules: Rulebook, offers: Mapping[str, Offer], now: datetime) -> None:
        self._rules = rules
        self._offers = offers
        self.now = now

    def price(self, asked: QuoteAsked, states: CouponStates) -> Priced:
        """Return the price of a basket whose coupons are as given."""
        return calculation.price(asked, self._offers, self._rules, states, now=self.now, quote_id=new_id())


class Quoting:
    """Reads what prices are made of; the rules are read anew only when they have changed."""

    def __init__(self, database: Database, projection: Projection, ask: Ask) -> None:
        self._database = database
        self._rules = Rulebook()
        self._baskets: SharedRead[QuoteAsked, tuple[Goods, CouponStates]] = SharedRead(database, self._look)
        self._learning = learning(database, ask, present=self._known, keep=projection.products)

    async def quote(self, asked: QuoteAsked) -> Quote:
        """Return the price of a basket; no coupon is held."""
        await self.learn(asked)
        goods, states = await self._baskets.ask(asked)
        return goods.price(asked, states).quote

    async def learn(self, asked: QuoteAsked) -> None:
        """Know the goods of a basket as soon as the catalog does."""
        await self._learning.ensure({line.sku for line in asked.lines if _storable(line.sku)})

    async def goods(self, connection: Connection, baskets: Sequence[QuoteAsked]) -> Goods:
        """Return what some baskets are priced with, as the database stands now."""
        skus = _skus_of(baskets)
        shelf = await repository.shelf(connection, skus)
        if shelf.rules != self._rules.version:
            self._rules = await repository.rulebook(connection)
        rules, offers = self._rules, shelf.offers
        if rules.demand_hours:
            sold = await repository.demand(connection, skus, rules.demand_hours)
            offers = {sku: msgspec.structs.replace(one, sold=tuple(sold.get(sku, ()))) for sku, one in offers.items()}
        return Goods(rules, offers, shelf.now)

    async def _look(self, connection: Connection, baskets: Sequence[QuoteAsked]) -> list[tuple[Goods, CouponStates]]:
        """Look at a moment: mostly by one statement, else by several that see the same."""
        rules = self._rules
        if not rules.demand_hours and not any(asked.coupons for asked in baskets):
            shelf = await repository.shelf(connection, _skus_of(baskets))
            if shelf.rules == rules.version:
                return [(Goods(rules, shelf.offers, shelf.now), {})] * len(baskets)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            goods = await self.goods(connection, baskets)
            return [(goods, await self._states(connection, asked)) for asked in baskets]

    async def _known(self, skus: Sequence[str]) -> Collection[str]:
        async with self._database.connection() as connection:
            return (await repository.shelf(connection, skus)).offers

    async def _states(self, connection: Connection, asked: QuoteAsked) -> CouponStates:
        if not asked.coupons:
            return {}
        codes, user_id = codes_of(asked), asked.user_id
        holder_id = asked.holder_id if isinstance(asked, HeldQuoteAsked) else None
        coupons = await repository_coupons.coupons_of(connection, codes)
        holds = await repository_coupons.holds_of(connection, [holder_id]) if holder_id is not None else []
        uses: Mapping[tuple[UUID, UUID], int] = {}
        if user_id is not None:
            uses = await repository_coupons.uses_by(connection, [(coupon_id, user_id) for coupon_id in coupons])
        return Hands(coupons, holds, uses).states(codes, holder_id or NIL, user_id)


def codes_of(asked: QuoteAsked) -> list[str]:
    """Return the codes of a basket's coupons as they are stored, each once; codes that cannot exist are left out."""
    return list(dict.fromkeys(code.upper() for code in asked.coupons if _storable(code)))


def _skus_of(baskets: Sequence[QuoteAsked]) -> list[str]:
    return [line.sku for asked in baskets for line in asked.lines if _storable(line.sku)]


def _storable(text: str) -> bool:
    return "\0" not in text and text.isprintable()
