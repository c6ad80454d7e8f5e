"""An order is called off while somebody else changes it: who asked is told what became of it, and of their wish."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID

import pytest
from typing_extensions import override

from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.orders.aftercare import Aftercare
from careforall.orders.domain import Order
from careforall.orders.driver import Driver
from careforall.orders.errors import IllegalTransition, StillMoving
from careforall.orders.records import Run, Sale
from careforall.orders.saga_words import CancelAsked, PayAsked, PaymentTold, SagaEvent
from careforall_testing.offline_shop import OfflineShop, offline_shop
from careforall_testing.servers import ServerUrls

STAFF = Principal(user_id=new_id(), email="staff1@example.org", role="ADMIN")


@pytest.fixture
async def offline(servers: ServerUrls) -> AsyncIterator[OfflineShop]:
    """A shop with mugs."""
    async with offline_shop(servers) as shop:
        await shop.stock("MUG", 10)
        yield shop


class Overtaken(Driver):
    """A driver of whose sagas something else is heard just before it writes."""

    heard: SagaEvent

    @override
    async def take(self, run: Run, event: SagaEvent, sale: Sale | None = None) -> Run:
        await super().take(run, self.heard)
        return await super().take(run, event, sale)


class Interrupted(Aftercare):
    """Aftercare beside which somebody is faster: each order that it has read is changed before it goes on."""

    meanwhile: Callable[[], Awaitable[Any]]

    @override
    async def _read(self, order_id: UUID) -> Order:
        found = await super()._read(order_id)
        if found.status == "CONFIRMED":
            await self.meanwhile()
        return found


@pytest.mark.parametrize("heard", [PaymentTold(status="AUTHORIZED"), CancelAsked(reason="in another tab")])
async def test_who_calls_off_what_is_just_being_paid_is_not_told_that_it_will_be(offline: OfflineShop, heard: SagaEvent) -> None:
    waiting = await _at_the_pay_page(offline)
    till = offline.till
    driver = Overtaken(till.database, till.asks, till.store, till.settings)
    driver.heard = heard
    aftercare = Aftercare(till.database, till.store, driver, till.settings)
    if isinstance(heard, PaymentTold):
        with pytest.raises(StillMoving):
            await aftercare.cancel(waiting.sale.order_id, "too late", STAFF)
    else:
        assert (await aftercare.cancel(waiting.sale.order_id, "too late", STAFF))[1] is False
        kept = await till.store.load(waiting.saga.id)
        assert kept is not None
        assert (kept.saga.cancelled, kept.saga.ending) == (True, "in another tab"), "it goes back once payments knows the intent"


async def test_a_buyer_who_is_overtaken_by_the_parcel_is_told_so(offline: OfflineShop) -> None:
    order_id = await _paid(offline)
    till = offline.till
    plain, raced = (kind(till.database, till.store, offline.driver, till.settings) for kind in (Aftercare, Interrupted))
    assert isinstance(raced, Interrupted)
    raced.meanwhile = lambda: plain.ship(order_id, "Post", "T-1", STAFF)
    with pytest.raises(IllegalTransition) as refused:
        await raced.cancel(order_id, "too late", STAFF)
    assert refused.value.facts["status_of_order"] == "SHIPPED"


async def test_who_calls_off_beside_another_sees_it_called_off(offline: OfflineShop) -> None:
    order_id = await _paid(offline)
    till = offline.till
    plain, raced = (kind(till.database, till.store, offline.driver, till.settings) for kind in (Aftercare, Interrupted))
    assert isinstance(raced, Interrupted)
    raced.meanwhile = lambda: plain.cancel(order_id, "in another tab", STAFF)
    order, _ = await raced.cancel(order_id, "too late", STAFF)
    assert (order.status, order.reason) == ("CANCELLED", "in another tab")


async def _at_the_pay_page(offline: OfflineShop) -> Run:
    asked = await offline.driver.take(await offline.checkout(MUG=1), PayAsked(card=False))
    waiting = await offline.driver.drive(asked, patient=True)
    assert waiting.saga.stage == "payer"
    return waiting


async def _paid(offline: OfflineShop) -> UUID:
    waiting = await _at_the_pay_page(offline)
    paid = await offline.driver.take(waiting, PaymentTold(status="CAPTURED"))
    assert (await offline.driver.drive(paid, patient=True)).saga.status == "COMPLETED"
    return waiting.sale.order_id
