"""Use cases of orders once they are placed: staff's steps, cancelling, shipping, returns."""

from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid5

import msgspec
import structlog

from careforall.contracts.orders import OrderStatus
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Forbidden, VersionConflict
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.kit.text import refuse_texts, text_error
from careforall.orders import domain, repository, repository_returns
from careforall.orders.asking import Away
from careforall.orders.domain import CONDITION_RULES, Fact, Order, Return, ReturnLine, ReturnReason, Step
from careforall.orders.driver import Driver
from careforall.orders.errors import IllegalTransition, NotReturnable, OrderNotFound, ReturnNotFound, StillMoving
from careforall.orders.records import Changes, Run, Sale
from careforall.orders.saga_words import CancelAsked, PaidByHand, Saga
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Fenced, Store, told

log = structlog.get_logger(__name__)

_BY_STAFF: frozenset[OrderStatus] = frozenset({"PROCESSING", "SHIPPED", "DELIVERED"})


class Aftercare:
    """What happens to orders after they were placed."""

    def __init__(
        self,
        database: Database,
        store: Store,
        driver: Driver,
        settings: OrdersSettings,
    ) -> None:
        self._database = database
        self._store = store
        self._driver = driver
        self._settings = settings

    async def set_status(self, order_id: UUID, wanted: OrderStatus, version: int | None, by: Principal) -> Order:
        """Take a step as staff; CONFIRMED says that it was paid in another way, which the saga does: stock first.

        Raises:
            VersionConflict: Somebody changed the order since.
            IllegalTransition: There is no such step.
        """
        order = await self._read(order_id)
        if version is not None and version != order.version:
            raise VersionConflict(order.version)
        if wanted == "CONFIRMED" and order.status == "PENDING":
            return await self._paid_by_hand(order)
        if wanted == "CANCELLED":
            return (await self.cancel(order_id, "cancelled by staff", by, version))[0]
        if wanted not in _BY_STAFF:
            raise IllegalTransition(f"An order cannot go from {order.status} to {wanted} by hand.", status_of_order=order.status)
        return await self._step(order_id, Fact(order_id=order_id, to=wanted, cause=f"staff {by.user_id}"), version)

    async def cancel(self, order_id: UUID, reason: str, by: Principal, version: int | None = None) -> tuple[Order, bool]:
        """Call an order off; return it and whether all is done, or money is still on its way back.

        Raises:
            VersionConflict: Somebody changed the paid order since it was in `version`.
            IllegalTransition: It has left the house.
            StillMoving: It is just being paid.
        """
        refuse_texts(text_error("/reason", reason, limit=200))
        order = await self._read(order_id)
        if order.user_id != by.user_id and not by.is_admin:
            raise OrderNotFound
        if order.status == "PENDING":
            order = await self._cancel_pending(order, reason)
            if order.status == "PENDING":
                return order, False
        if order.status == "CANCELLED":
            return order, await self._is_refunded(order)
        domain.path(order.status, "CANCELLED")
        return await self._reverse(order, reason, by, version)

    async def ship(self, order_id: UUID, carrier: str, tracking: str, by: Principal) -> Order:
        """Note that all lines, or those of a seller, left the house; the order follows once nothing is left."""
        refuse_texts(text_error("/carrier", carrier, limit=100), text_error("/tracking", tracking, limit=100))
        order = await self._read(order_id)
        seller = None if by.is_admin else by.user_id
        if seller is not None and all(line.seller_id != seller for line in order.lines):
            raise OrderNotFound
        whole = domain.ships_all(order, seller, whole=by.is_admin)
        fact = Fact(order_id=order_id, cause=f"shipped by {by.user_id}", carrier=carrier, tracking=tracking, sellers=seller)
        if not whole and order.status not in {"CONFIRMED", "PROCESSING"}:
            raise IllegalTransition(f"An order that is {order.status} cannot be shipped.", status_of_order=order.status)
        version = order.version if seller else None  # a seller's are judged beside those of others, as they were read
        return await self._step(order_id, msgspec.structs.replace(fact, to="SHIPPED") if whole else fact, version)

    async def ask_return(
        self,
        connection: Connection,
        order_id: UUID,
        by: Principal,
        *,
        reason: ReturnReason,
        lines: Sequence[ReturnLine],
        note: str,
    ) -> tuple[Order, Return]:
        """Ask to send something back, within the window and at most what was bought, in the caller's transaction.

        Raises:
            NotReturnable: The window is closed, or that much is not there.
        """
        refuse_texts(text_error("/note", note, limit=1000, lines=True))
        order = await self._locked(connection, order_id)
        if order.user_id != by.user_id and not by.is_admin:
            raise OrderNotFound
        if not domain.may_return(order, self._driver.told_at() or datetime.now(UTC), self._settings.return_days):
            raise NotReturnable(f"An order that is {order.status} cannot be returned, or not any more.")
        pending = _claimed(await repository_returns.of_order(connection, order_id))
        wanted = tuple(_summed(lines) or _rest(order, pending))
        if not wanted:
            raise NotReturnable("Nothing is left to be returned.")
        identifier = new_id()
        made = Return(
            id=identifier,
            order_id=order_id,
            status="PENDING",
            reason=reason,
            note=note,
            condition_rule=CONDITION_RULES[reason],
            label=f"RET-{order.order_number}-{identifier.hex[-6:].upper()}",
            lines=wanted,
            amount=domain.return_amount(order, wanted, pending),
        )
        return order, await repository_returns.insert(connection, made)

    async def decide(self, return_id: UUID, by: Principal, note: str, *, approve: bool) -> tuple[Order, Return]:
        """Approve a return, which restocks and then refunds, or reject it; deciding again the same way changes nothing."""
        refuse_texts(text_error("/note", note, limit=500))
        order, found, run = await self._database.run(
            lambda connection: self._decide(connection, return_id, by, note, approve=approve)
        )
        if run is not None:
            await self._follow(run)
        elif approve:
            await self._settle(order, found)
        return await self._read(order.id), await self.returned(return_id)

    async def returned(self, return_id: UUID) -> Return:
        """Return a return."""
        async with self._database.connection() as connection:
            rows = await repository_returns.by_id(connection, return_id)
        if rows is None:
            raise ReturnNotFound
        return rows

    async def _decide(
        self, connection: Connection, return_id: UUID, by: Principal, note: str, *, approve: bool
    ) -> tuple[Order, Return, Run | None]:
        """Decide, and with an approval begin its saga: who approved need not be there any more for the money to go back."""
        seen = await repository_returns.by_id(connection, return_id)
        if seen is None:
            raise ReturnNotFound
        order = await self._locked(connection, seen.order_id)
        found = await repository_returns.lock(connection, return_id)
        assert found is not None
        status = "APPROVED" if approve else "REJECTED"
        if found.status == status or (approve and found.status == "REFUNDED"):
            return order, found, None
        if found.status != "PENDING":
            raise IllegalTransition(f"This return is {found.status} already.")
        if not approve:
            await repository_returns.decide(connection, found, status, by.user_id, note)
            return order, found, None
        found = msgspec.structs.replace(found, amount=domain.return_amount(order, found.lines, {}))
        await repository_returns.decide(connection, found, status, by.user_id, note)
        back = {line.sku: line.quantity for line in found.lines}
        fact = Fact(order_id=order.id, cause=f"return {return_id}", returned=back, at=self._driver.told_at())
        await _record(connection, _returned(order, fact))
        return order, found, await self._driver.start_with(connection, *_backwards(order, found))

    async def _settle(self, order: Order, found: Return | None) -> None:
        """Begin, or go on with, the saga by which goods and money go back."""
        saga, sale = _backwards(order, found)
        try:
            await self._follow(await self._driver.start(saga, sale))
        except Fenced:
            await self._driver.settled(saga.id)

    async def _follow(self, run: Run) -> None:
        try:
            await self._driver.follow(run)
        except Fenced:
            await self._driver.settled(run.saga.id)
        except Away as error:
            log.info("goods and money go back later", saga_id=str(run.saga.id), error=str(error))

    async def _cancel_pending(self, order: Order, reason: str) -> Order:
        """Have the saga go back, and return the order as it is then: PENDING where that takes longer."""
        run = await self._store.load(order.saga_id)
        assert run is not None
        try:
            run = await self._driver.take(run, CancelAsked(reason=reason))
        except Fenced:
            run = await self._store.load(order.saga_id) or run
        if not run.saga.ending:
            raise StillMoving
        try:
            await self._driver.follow(run)
        except (Fenced, Away) as error:
            log.info("an order is called off by somebody else, or later", order_id=str(order.id), error=repr(error))
        return await self._read(order.id)

    async def _reverse(self, order: Order, reason: str, by: Principal, version: int | None) -> tuple[Order, bool]:
        fact = Fact(order_id=order.id, to="CANCELLED", cause=f"cancelled by {by.user_id}", reason=reason)
        run = await self._database.run(lambda connection: self._call_off(connection, fact, version))
        if run is not None:
            await self._follow(run)
        after = await self._read(order.id)
        return after, await self._is_refunded(after)

    async def _is_refunded(self, order: Order) -> bool:
        run = await self._store.load(named(f"cancel|{order.id}"))
        if run is None and order.paid_by:
            await self._settle(order, None)
            run = await self._store.load(named(f"cancel|{order.id}"))
        return run is None or (run.saga.ended and not run.sale.refund_pending)

    async def _paid_by_hand(self, order: Order) -> Order:
        run = await self._store.load(order.saga_id)
        assert run is not None
        try:
            moved = await self._driver.take(run, PaidByHand())
        except Fenced as error:
            raise StillMoving from error
        if not moved.saga.by_hand:
            raise StillMoving
        await self._ended(moved)
        after = await self._read(order.id)
        if after.status == "PENDING":
            raise StillMoving
        if after.status != "CONFIRMED":
            raise IllegalTransition(f"It could not be confirmed: {after.reason or after.status}.", status_of_order=after.status)
        return after

    async def _ended(self, run: Run) -> None:
        """Drive a saga, or see what comes of it where its next step has to wait: a payment may not be known to payments yet."""
        try:
            await self._driver.follow(run)
        except (Fenced, Away):
            await self._driver.settled(run.saga.id)

    async def _call_off(self, connection: Connection, fact: Fact, version: int | None) -> Run | None:
        """Cancel, and begin the saga that sends the money back: whoever cancelled need not be there any more.

        None where somebody else has just cancelled.
        """
        order = await self._locked(connection, fact.order_id)
        if order.status == "CANCELLED":
            return None
        cancelled = await self._stepped(connection, order, fact, version)
        return await self._driver.start_with(connection, *_backwards(cancelled, None))

    async def _step(self, order_id: UUID, fact: Fact, version: int | None) -> Order:
        async def work(connection: Connection) -> Order:
            return await self._stepped(connection, await self._locked(connection, order_id), fact, version)

        return await self._database.run(work)

    async def _stepped(self, connection: Connection, order: Order, fact: Fact, version: int | None) -> Order:
        """Take a step of a locked order."""
        if version is not None and version != order.version:
            raise VersionConflict(order.version)
        steps = domain.walk(order, msgspec.structs.replace(fact, at=self._driver.told_at()))
        if not steps:
            raise IllegalTransition(f"This order is {order.status} already.", status_of_order=order.status)
        await _record(connection, steps)
        return steps[-1].order

    async def _locked(self, connection: Connection, order_id: UUID) -> Order:
        found = (await repository.lock_orders(connection, [order_id])).get(order_id)
        if found is None:
            raise OrderNotFound
        return found

    async def _read(self, order_id: UUID) -> Order:
        async with self._database.connection() as connection:
            found = await repository.order(connection, order_id)
        if found is None:
            raise OrderNotFound
        return found


async def _record(connection: Connection, steps: Sequence[Step]) -> None:
    changes = Changes()
    changes.steps += steps
    changes.outbox += told(steps)
    await repository.write(connection, changes)


def named(name: str) -> UUID:
    """Return the id of the saga by which an order or a return goes back, which is one however often it is asked for."""
    return uuid5(UUID("0b6c0a52-0d0e-5c6b-8f6d-5d3f4f1f7a10"), name)


def _backwards(order: Order, found: Return | None) -> tuple[Saga, Sale]:
    """Return the saga by which the goods and the money of a return, or of a whole order, go back."""
    sale = Sale(
        order_id=order.id,
        intent_id=order.intent_id,
        user_id=order.user_id,
        order_number=order.order_number,
        holder_id=order.saga_id,
        refund_amount=found.amount if found else None,
        refund_reason=(f"return {found.label}" if found else f"cancelled: {order.reason}")[:200],
        return_id=found.id if found else None,
        back=found.lines if found else tuple(ReturnLine(sku=line.sku, quantity=line.quantity) for line in order.lines),
        correlation_id=order.correlation_id,
        traceparent=order.traceparent,
    )
    if found is not None:
        return Saga(id=named(f"return|{found.id}"), type="RETURN"), sale
    return Saga(id=named(f"cancel|{order.id}"), type="CANCEL"), sale


def _returned(order: Order, fact: Fact) -> list[Step]:
    """Return the steps of goods that come back: the whole order is RETURNED once nothing is left with the buyer."""
    left = {line.sku: line.quantity - line.returned - fact.returned.get(line.sku, 0) for line in order.lines}
    if any(left.values()):
        return domain.walk(order, fact)
    return domain.walk(order, msgspec.structs.replace(fact, to="RETURNED"))


def _claimed(returns: Sequence[Return]) -> dict[str, int]:
    claimed: dict[str, int] = {}
    for one in returns:
        for line in one.lines if one.status == "PENDING" else ():
            claimed[line.sku] = claimed.get(line.sku, 0) + line.quantity
    return claimed


def _summed(lines: Sequence[ReturnLine]) -> list[ReturnLine]:
    quantity_of: dict[str, int] = {}
    for line in lines:
        quantity_of[line.sku] = quantity_of.get(line.sku, 0) + line.quantity
    return [ReturnLine(sku=sku, quantity=quantity) for sku, quantity in quantity_of.items()]


def _rest(order: Order, pending: dict[str, int]) -> list[ReturnLine]:
    left = {line.sku: line.quantity - line.returned - pending.get(line.sku, 0) for line in order.lines}
    return [ReturnLine(sku=sku, quantity=quantity) for sku, quantity in left.items() if quantity > 0]


def refuse_others(by: Principal) -> None:
    """Refuse whoever may not ship.

    Raises:
        Forbidden: Neither staff nor a seller.
    """
    if by.role not in {"ADMIN", "SELLER"}:
        raise Forbidden("Only staff and sellers ship.")
