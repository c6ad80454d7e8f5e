"""Orders as others see them: reads for buyers and staff, answers to other services, and what events change."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts.orders import OrderStates, OrderStatesAsked, Payable, PayableAsked
from careforall.kit import json, money
from careforall.kit.cache import Cache
from careforall.kit.db import Connection, Database
from careforall.kit.http.identity import Principal
from careforall.kit.outbox import Outgoing
from careforall.kit.reads import SharedRead
from careforall.orders import events, repository, repository_returns, repository_sagas, store
from careforall.orders.aftercare import Aftercare
from careforall.orders.checkouts import Checkouts
from careforall.orders.direct import DirectOrders
from careforall.orders.domain import Fact, Order, Return
from careforall.orders.driver import Driver
from careforall.orders.erasing import Erasing
from careforall.orders.errors import OrderNotFound
from careforall.orders.goods import Goods
from careforall.orders.records import Changes, Run, Turn
from careforall.orders.saga_words import CART_BOUGHT, CancelAsked, PaymentTold
from careforall.orders.schemas import OrderOut, TransitionOut, order_out

_CACHED_SECONDS = 30
_decode_order = msgspec.json.Decoder(OrderOut).decode


class UnknownIntent(Exception):
    """A payment event names an intent that no order here has; it ends among the dead letters."""


class OrdersService:
    """What the API and the consumers call."""

    def __init__(
        self,
        database: Database,
        cache: Cache,
        *,
        goods: Goods,
        checkouts: Checkouts,
        direct: DirectOrders,
        driver: Driver,
        erasing: Erasing,
    ) -> None:
        self.database = database
        self.goods = goods
        self.checkouts = checkouts
        self.direct = direct
        self.driver = driver
        self.erasing = erasing
        self.aftercare: Aftercare
        self._cache = cache
        self._versions: SharedRead[UUID, int | None] = SharedRead(database, _versions)

    async def order(self, order_id: UUID, viewer: Principal) -> OrderOut:
        """Return an order with its transitions to its buyer or staff, from the cache where nothing can be moving.

        Raises:
            OrderNotFound: Also where it is somebody else's.
        """
        version = await self._versions.ask(order_id)
        if version is None:
            raise OrderNotFound
        cached = await self._cache.get(_key(order_id, version))
        found = _decode_order(cached) if cached is not None else await self.read(order_id)
        if found.user_id != viewer.user_id and not viewer.is_admin:
            raise OrderNotFound
        if cached is None and found.status != "PENDING":
            await self._cache.put({_key(order_id, found.version): json.encode(found)}, seconds=_CACHED_SECONDS)
        return found

    async def read(self, order_id: UUID) -> OrderOut:
        """Return an order with its transitions, whoever asks.

        Raises:
            OrderNotFound: There is none.
        """
        async with self.database.snapshot() as connection:
            order = await repository.order(connection, order_id)
            if order is None:
                raise OrderNotFound
            rows = await repository.history(connection, order_id)
        return order_out(order, [_transition(row, order.currency) for row in rows])

    async def orders(
        self, viewer: Principal, *, status: str | None, search: str, before: UUID | None, page: int, limit: int
    ) -> tuple[list[Order], int]:
        """Return one page of one's own orders, or for staff of all."""
        owner = None if viewer.is_admin else viewer.user_id
        async with self.database.connection() as connection:
            return await repository.page(
                connection, user_id=owner, status=status, search=search, before=before, offset=(page - 1) * limit, limit=limit
            )

    async def returns(self, status: str | None, before: UUID | None, limit: int) -> list[tuple[Return, str]]:
        """Return returns with their currencies, newest first."""
        async with self.database.snapshot() as connection:
            found = await repository_returns.page(connection, status, before, limit)
            currencies = await repository.currencies(connection, [one.order_id for one in found])
        return [(one, currencies[one.order_id]) for one in found]

    async def hear_payments(
        self, connection: Connection, told: Sequence[tuple[UUID, PaymentTold]], facts: Mapping[UUID, Fact]
    ) -> None:
        """Let sagas know how their intents stand, in the caller's transaction; they go on after it.

        Args:
            connection: The open transaction.
            told: What is said of intents, the newest of each.
            facts: What is said of the money of orders, by intent.
        """
        runs = await repository_sagas.runs_of_intents(connection, [intent for intent, _ in told])
        missing = [intent for intent, _ in told if intent not in runs]
        if missing:
            raise UnknownIntent(f"no order has the intent {missing[0]}")
        carts = {run.sale.cart_id for run in runs.values() if run.saga.stage == "payer" and run.sale.cart_id is not None}
        bought = await repository.bought_of_carts(connection, sorted(carts)) if carts else {}
        turns = [self.driver.turn(runs[intent], _wanted(runs[intent], event, bought)) for intent, event in told]
        moved = [_at_once(turn) for turn in turns if turn.after.saga is not turn.before.saga]
        await store.record(connection, sorted(moved, key=lambda turn: turn.after.saga.id.int))
        await self._note_money(connection, facts)
        self.driver.wake()

    async def answer_states(self, payload: bytes) -> bytes:
        """Answer in which state the orders of some intents are."""
        asked = msgspec.json.decode(payload, type=OrderStatesAsked)
        async with self.database.connection() as connection:
            states = await repository.states_of_intents(connection, asked.intent_ids)
        return msgspec.json.encode(OrderStates(states=states))

    async def answer_payable(self, payload: bytes) -> bytes:
        """Answer what is to be paid for an order."""
        asked = msgspec.json.decode(payload, type=PayableAsked)
        async with self.database.connection() as connection:
            order = await repository.order(connection, asked.order_id)
        return json.encode(_payable(order) if order is not None and order.user_id == asked.user_id else Payable())

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present state of orders as events, for projections that start anew."""
        return [events.snapshot(order) for order in await repository.orders_after(connection, after, limit)]

    async def _note_money(self, connection: Connection, facts: Mapping[UUID, Fact]) -> None:
        if not facts:
            return
        orders = await repository.orders_of_intents(connection, list(facts))
        named = [msgspec.structs.replace(fact, order_id=orders[intent]) for intent, fact in facts.items() if intent in orders]
        changes = Changes()
        changes.steps += await store.steps_of(connection, named)
        changes.outbox += store.told(changes.steps)
        await repository.write(connection, changes)


def _wanted(run: Run, event: PaymentTold, bought: Collection[UUID]) -> PaymentTold | CancelAsked:
    """Return what payments told; of a cart that was bought by another checkout meanwhile, that its money goes back."""
    again = run.saga.stage == "payer" and event.status != "ENDED" and run.sale.cart_id in bought
    return CancelAsked(reason=CART_BOUGHT) if again else event


def _at_once(turn: Turn) -> Turn:
    """Let whoever is first go on with a saga that has a step to do."""
    saga = turn.after.saga
    return turn if saga.waits or saga.ended else msgspec.structs.replace(turn, lease=0.0)


async def _versions(connection: Connection, order_ids: Sequence[UUID]) -> list[int | None]:
    found = await repository.versions(connection, order_ids)
    return [found.get(one) for one in order_ids]


def _key(order_id: UUID, version: int) -> str:
    """Name an order as it is in one version: what is kept under it is never out of date, whoever changes the order."""
    return f"order:{order_id}:{version}"


def _transition(row: Any, currency: str) -> TransitionOut:
    return TransitionOut(
        from_status=row["from_status"],
        to_status=row["to_status"],
        cause=row["cause"],
        refunded_amount=money.show(row["refunded_amount"], currency),
        version=row["version"],
        time=row["at"],
    )


def _payable(order: Order) -> Payable:
    return Payable(
        status=order.status,
        intent_id=order.intent_id,
        order_number=order.order_number,
        amount=order.total,
        currency=order.currency,
        gateway=order.gateway,
        expires_at=order.expires_at,
    )
