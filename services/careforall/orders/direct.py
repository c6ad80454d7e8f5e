"""Use cases of direct orders: an order without a cart, at catalog's prices, that waits for its payment."""

from collections.abc import Sequence
from typing import NoReturn
from uuid import uuid5

import msgspec

from careforall.kit import context, money
from careforall.kit.db import Database
from careforall.kit.errors import IdempotencyKeyReused
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.orders import pricing_of, repository
from careforall.orders.asking import Asks, Away
from careforall.orders.checkouts import NAMES
from careforall.orders.domain import Order
from careforall.orders.driver import Driver
from careforall.orders.errors import CheckoutEnded, OutOfStock, ProductUnavailable
from careforall.orders.goods import Goods
from careforall.orders.records import Run, Sale, Wanted
from careforall.orders.saga_words import Saga
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Fenced, Store


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A direct order; without stock yet where inventory could not be asked."""

    order: Order
    replayed: bool = False

    @property
    def waits_for_stock(self) -> bool:
        """Whether its stock is reserved later, or it fails uncharged."""
        return self.order.status == "PENDING" and self.order.expires_at is None


class DirectOrders:
    """Orders that are placed at once."""

    def __init__(
        self, database: Database, goods: Goods, asks: Asks, store: Store, driver: Driver, settings: OrdersSettings
    ) -> None:
        self._database = database
        self._goods = goods
        self._asks = asks
        self._store = store
        self._driver = driver
        self._settings = settings

    async def place(self, buyer: Principal, items: Sequence[Wanted], token: str | None, mark: bytes) -> Placed:
        """Reserve stock and write an order; the same token of the same user is the same order.

        Raises:
            InvalidInput, ProductUnavailable: This cannot be ordered.
            OutOfStock: Nothing is reserved.
            IdempotencyKeyReused: The token belongs to another order.
        """
        saga_id = uuid5(NAMES, f"order|{buyer.user_id}|{token}") if token is not None else new_id()
        known = await self._store.load(saga_id) if token is not None else None
        if known is not None:
            return await self._known(known, mark)
        sale = await self._sale(buyer, items)
        if gone := await self._asks.sold_out(sale):
            raise OutOfStock(skus=gone)
        try:
            run = await self._driver.start(Saga(id=saga_id, type="DIRECT"), sale, request_hash=mark)
            run = await self._driver.follow(run) or run
        except Away:
            run = await self._driver.settled(saga_id) or run
        except Fenced:
            found = await self._store.load(saga_id)
            if found is None:
                raise CheckoutEnded(reason="buyer_erased") from None
            return await self._known(found, mark)
        return Placed(order=await self._order(run))

    async def _known(self, run: Run, mark: bytes) -> Placed:
        if run.request_hash != mark:
            raise IdempotencyKeyReused
        if not run.saga.placed:
            run = await self._driver.settled(run.saga.id) or run
        return Placed(order=await self._order(run), replayed=True)

    async def _sale(self, buyer: Principal, items: Sequence[Wanted]) -> Sale:
        wanted = pricing_of.summed(items)
        known = await self._goods.items([one.sku for one in wanted])
        pricing_of.check_wanted(wanted, known)
        lines, amounts = pricing_of.listed(wanted, known)
        if amounts.total >= money.LIMIT:
            raise pricing_of.too_large("/items")
        cause = context.current()
        return Sale(
            order_id=new_id(),
            intent_id=new_id(),
            user_id=buyer.user_id,
            email=buyer.email,
            gateway=self._settings.default_gateway,
            wanted=wanted,
            lines=lines,
            amounts=amounts,
            correlation_id=cause.correlation_id,
            traceparent=cause.traceparent,
        )

    async def _order(self, run: Run) -> Order:
        async with self._database.connection() as connection:
            found = await repository.order(connection, run.sale.order_id)
        if found is None:
            _refuse(run)
        return found


def _refuse(run: Run) -> NoReturn:
    """Say why there is no order."""
    match run.saga.ending:
        case "out_of_stock":
            raise OutOfStock(skus=list(run.sale.short))
        case "unknown_sku":
            raise ProductUnavailable(skus=list(run.sale.short))
        case _:
            raise CheckoutEnded(reason=run.saga.ending)
