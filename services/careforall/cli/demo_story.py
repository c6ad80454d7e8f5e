"""The way of one demo order, from the till to whatever became of it, by the code that takes real ones there.

It goes by a clock of its own, which begins in the past and stops at now: the newest orders wait to be packed, those before them
are on their way, the others have arrived. Where a platform runs already, its own consumers may be faster with the payment; then
the order is confirmed now, and so is all that follows.
"""

import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

import msgspec

from careforall.cli.demo_messages import MoneyWord, Webhooks
from careforall.kit.db import Database
from careforall.kit.http.identity import Principal
from careforall.orders.aftercare import Aftercare
from careforall.orders.asking import Asks, Away
from careforall.orders.domain import ReturnLine
from careforall.orders.driver import Driver
from careforall.orders.records import Run, Sale
from careforall.orders.saga_words import Expired, PayAsked, PaymentTold, Saga
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Fenced, Store

_CARRIER = "Parcel post"
_PAYS_AFTER = timedelta(minutes=3)

Step = tuple[timedelta, Callable[[], Awaitable[object]]]
"""What happens to an order, and how long after it was placed."""


class Till(msgspec.Struct, frozen=True, kw_only=True):
    """What orders are driven with."""

    database: Database
    asks: Asks
    store: Store
    settings: OrdersSettings
    webhooks: Webhooks
    staff: Principal


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A made-up order and what becomes of it, if it is old enough."""

    saga_id: UUID
    at: datetime
    sale: Sale
    outcome: str
    late: bool = False
    """It was confirmed by others, now."""


class Story:
    """Takes one order along."""

    def __init__(self, plan: Plan, till: Till) -> None:
        self._plan = plan
        self._till = till
        self._now = plan.at
        self._driver = Driver(till.database, till.asks, till.store, till.settings, clock=self._clock)
        self._aftercare = Aftercare(till.database, till.store, self._driver, till.settings)
        self._buyer = Principal(user_id=plan.sale.user_id, email=plan.sale.email, role="USER")
        self._run: Run | None = None

    @property
    def order_id(self) -> UUID:
        """The order's id."""
        return self._plan.sale.order_id

    async def place(self) -> None:
        """Go to the till and on to the pay page."""
        with contextlib.suppress(Fenced, Away):
            run = await self._driver.start(Saga(id=self._plan.saga_id, type="CHECKOUT"), self._plan.sale)
            run = await self._driver.drive(run, patient=True)
            if run.saga.stage == "ready":
                run = await self._driver.take(run, PayAsked(card=False))
                self._run = await self._driver.drive(run, patient=True)

    async def pay(self) -> None:
        """Let the gateway say how the payment went, or let the time to pay run out."""
        run = self._run
        if run is None or run.saga.stage != "payer":
            return
        event = await self._paid(run.sale)
        try:
            self._run = await self._driver.drive(await self._driver.take(run, event), patient=True)
        except (Fenced, Away):
            self._run = await self._driver.settled(run.saga.id)
            self._plan = msgspec.structs.replace(self._plan, late=True)

    async def go_on(self) -> None:
        """Do what has happened since, up to now."""
        if self._run is None or self._run.saga.status != "COMPLETED":
            return
        for after, step in self._steps():
            if self._plan.at + after > datetime.now(UTC):
                return
            self._now = datetime.now(UTC) if self._plan.late else self._plan.at + after
            await step()

    def _clock(self) -> datetime:
        return self._now

    async def _paid(self, sale: Sale) -> PaymentTold | Expired:
        assert sale.amounts is not None
        if self._plan.outcome == "EXPIRED":
            self._now += timedelta(seconds=self._till.settings.payment_seconds)
            return Expired()
        self._now += _PAYS_AFTER
        declined = self._plan.outcome == "DECLINED"
        word = MoneyWord(
            intent_id=sale.intent_id,
            status="FAILED" if declined else "SUCCESS",
            at=self._now,
            amount=sale.amounts.total,
            currency=sale.amounts.currency,
        )
        await self._till.webhooks.send(word)
        return PaymentTold(status="ENDED" if declined else "CAPTURED")

    def _steps(self) -> list[Step]:
        if self._plan.outcome == "CANCELLED":
            return [(timedelta(hours=5), self._cancel)]
        sent: list[Step] = [
            (timedelta(hours=6), self._pack),
            (timedelta(hours=30), self._ship),
            (timedelta(days=4), self._arrive),
        ]
        return [*sent, (timedelta(days=9), self._send_back)] if self._plan.outcome == "RETURNED" else sent

    async def _cancel(self) -> None:
        await self._aftercare.cancel(self.order_id, "ordered by mistake", self._buyer)

    async def _pack(self) -> None:
        await self._aftercare.set_status(self.order_id, "PROCESSING", None, self._till.staff)

    async def _ship(self) -> None:
        await self._aftercare.ship(self.order_id, _CARRIER, f"DEMO{self.order_id.hex[-8:].upper()}", self._till.staff)

    async def _arrive(self) -> None:
        await self._aftercare.set_status(self.order_id, "DELIVERED", None, self._till.staff)

    async def _send_back(self) -> None:
        """Ask to return the first line; three days later it is approved, so that the newest returns wait for that."""
        first = self._plan.sale.wanted[0]
        lines = [ReturnLine(sku=first.sku, quantity=first.quantity)]
        _, asked = await self._till.database.run(
            lambda connection: self._aftercare.ask_return(
                connection, self.order_id, self._buyer, reason="CHANGED_MIND", lines=lines, note="It does not fit."
            )
        )
        if self._plan.at + timedelta(days=12) <= datetime.now(UTC):
            self._now += timedelta(days=0 if self._plan.late else 3)
            await self._aftercare.decide(asked.id, self._till.staff, "", approve=True)
