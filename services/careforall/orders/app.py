"""Composition root of the orders service."""

from typing import cast

from litestar import Router
from litestar.di import Provide

from careforall.contracts import streams
from careforall.contracts.orders import ORDER_STATES, PAYABLE
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources
from careforall.orders import api
from careforall.orders.aftercare import Aftercare
from careforall.orders.asking import Asks
from careforall.orders.checkouts import Checkouts
from careforall.orders.consumers import consumers
from careforall.orders.direct import DirectOrders
from careforall.orders.driver import Driver
from careforall.orders.erasing import Erasing
from careforall.orders.goods import Goods
from careforall.orders.observing import Observing
from careforall.orders.reconciling import Reconciling
from careforall.orders.service import OrdersService
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Store

_SWEEP_SECONDS = 0.25
_HOURLY = 3600.0


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("OrdersSettings", resources.settings)
    database = resources.database
    store = Store(database, max_batch=settings.batch_size, flights=settings.batch_flights)
    asks = Asks(resources.ask, settings, seconds=settings.saga_lease_seconds * 0.6)
    goods = Goods(database, resources.ask)
    driver = Driver(database, asks, store, settings)
    service = OrdersService(
        database,
        resources.cache,
        goods=goods,
        checkouts=Checkouts(goods, asks, store, driver, settings),
        direct=DirectOrders(database, goods, asks, store, driver, settings),
        driver=driver,
        erasing=Erasing(database, return_days=settings.return_days),
    )
    service.aftercare = Aftercare(database, store, driver, settings)
    reconciling = Reconciling(database)
    limit = api.OrderLimit(resources.limiter, settings.orders_per_minute)
    router = Router(
        "/", route_handlers=list(api.ROUTES), dependencies={"order_limit": Provide(lambda: limit, sync_to_thread=False)}
    )
    return Parts(
        service=service,
        routes=(router,),
        consumers=consumers(service),
        jobs=(
            Job(name="orders-sagas", every=_SWEEP_SECONDS, work=driver.sweep, exclusive=False),
            Job(name="orders-reconciliation", every=_HOURLY, work=reconciling.look),
            Job(name="orders-erasure", every=settings.erasure_seconds, work=service.erasing.go_on),
            Job(name="orders-figures", every=settings.observe_seconds, work=Observing(database).look, exclusive=False),
        ),
        queries={ORDER_STATES: service.answer_states, PAYABLE: service.answer_payable},
        snapshot=service.snapshot,
        stop=(driver.close,),
    )


SERVICE = Definition(name="orders", package=__package__ or "", settings=OrdersSettings, build=build, stream=streams.ORDERS)
