"""Writes the steps of many sagas together: whoever takes a step waits for one shared transaction (rule 1).

A turn is written only where the saga is still the one that was read, by epoch and version, so that two who drive the same saga
cannot both go on. A turn that is found written already is our own after an unknown COMMIT. Turns that change no order take one
statement.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from uuid import UUID

from careforall.kit.batch import BUSY, LEFT, Busy, GroupCommit, Left
from careforall.kit.db import Connection, Database
from careforall.kit.outbox import Outgoing
from careforall.kit.reads import SharedRead
from careforall.orders import domain, events, repository, repository_returns, repository_sagas
from careforall.orders.domain import Fact, Order, Step
from careforall.orders.errors import IllegalTransition
from careforall.orders.metrics import ORDERS_CREATED
from careforall.orders.records import Changes, Run, Turn


class Fenced(Exception):
    """Somebody else went on with this saga; what they made of it is to be read."""


class Store:
    """The writer of sagas and their orders."""

    def __init__(self, database: Database, *, max_batch: int, flights: int) -> None:
        self._beginnings: GroupCommit[Turn, Run] = GroupCommit(
            "saga-beginnings", database, _begin, swift=_begin_at_once, max_batch=max_batch, flights=flights
        )
        self._moves: GroupCommit[Turn, Run] = GroupCommit(
            "sagas", database, _move, swift=_move_at_once, max_batch=max_batch, flights=flights
        )
        self._runs: SharedRead[UUID, Run | None] = SharedRead(database, _runs)
        self._bought: SharedRead[UUID, Mapping[str, int]] = SharedRead(database, _bought)
        self._waiting: SharedRead[UUID, list[Run]] = SharedRead(database, _waiting)

    async def save(self, turn: Turn) -> Run:
        """Write a turn with its neighbours and return the saga after it.

        Raises:
            Fenced: The saga went on without us.
        """
        batch = self._moves if turn.before.version else self._beginnings
        saved = await batch.submit(turn, key=f"{turn.after.saga.id}:{turn.id}")
        if turn.order is not None:
            ORDERS_CREATED.inc()
        return saved

    async def load(self, identifier: UUID) -> Run | None:
        """Read one saga."""
        return await self._runs.ask(identifier)

    async def waiting(self, user_id: UUID) -> list[Run]:
        """Read the checkouts of somebody that wait for them to pay."""
        return await self._waiting.ask(user_id)

    async def bought(self, cart_id: UUID) -> Mapping[str, int]:
        """Return the units by SKU that were bought out of a cart; empty where it became no order."""
        return await self._bought.ask(cart_id)

    async def drain(self) -> None:
        """Wait until everything accepted so far is written."""
        await self._beginnings.drain()
        await self._moves.drain()


async def _runs(connection: Connection, identifiers: Sequence[UUID]) -> list[Run | None]:
    found = await repository_sagas.runs(connection, identifiers)
    return [found.get(one) for one in identifiers]


async def _waiting(connection: Connection, user_ids: Sequence[UUID]) -> list[list[Run]]:
    found = await repository_sagas.waiting(connection, user_ids)
    return [[run for run in found if run.sale.user_id == one] for one in user_ids]


async def _bought(connection: Connection, cart_ids: Sequence[UUID]) -> list[Mapping[str, int]]:
    found = await repository.bought_of_carts(connection, cart_ids)
    return [found.get(one, {}) for one in cart_ids]


async def _begin_at_once(connection: Connection, turns: Sequence[Turn]) -> Sequence[Run | Left]:
    """Begin sagas by one statement; of one that is there already the transaction says who began it."""
    first = _first_of_each(turns)
    fresh = await repository_sagas.begin(connection, first)
    return _done(turns, {turn.id for turn in first if turn.after.saga.id in fresh})


async def _begin(connection: Connection, turns: Sequence[Turn]) -> Sequence[Run | Exception | Busy]:
    """Begin sagas; of one that exists only the turn that made it has won."""
    await repository_sagas.begin(connection, _first_of_each(turns))
    marks = await repository_sagas.begun(connection, [turn.after.saga.id for turn in turns])
    return [turn.after if marks.get(turn.after.saga.id) == turn.id else Fenced() for turn in turns]


async def _move_at_once(connection: Connection, turns: Sequence[Turn]) -> Sequence[Run | Left]:
    """Write turns that leave their orders alone by one statement."""
    first = [turn for turn in _first_of_each(turns) if turn.is_plain]
    moved = await repository_sagas.move(connection, first) if first else set()
    return _done(turns, {turn.id for turn in first if turn.after.saga.id in moved})


async def _move(connection: Connection, turns: Sequence[Turn]) -> Sequence[Run | Exception | Busy]:
    outcomes: dict[UUID, Run | Exception | Busy] = {}
    await _judge(connection, turns, outcomes)
    won = [turn for turn in turns if turn.id not in outcomes]
    if won:
        await record(connection, won)
    return [outcomes.get(turn.id, turn.after) for turn in turns]


async def _judge(connection: Connection, turns: Sequence[Turn], outcomes: dict[UUID, Run | Exception | Busy]) -> None:
    """Lock sagas and find those that are not the ones that were read; of two turns of one saga the first wins."""
    marks = await repository_sagas.lock(connection, [turn.after.saga.id for turn in turns])
    taken: set[UUID] = set()
    for turn in turns:
        mark, before = marks.get(turn.after.saga.id), turn.before
        if mark is None:
            outcomes[turn.id] = BUSY
        elif mark.turn == turn.id:
            outcomes[turn.id] = turn.after
        elif (mark.epoch, mark.version) != (before.epoch, before.version) or turn.after.saga.id in taken:
            outcomes[turn.id] = Fenced()
        else:
            taken.add(turn.after.saga.id)


def _first_of_each(turns: Sequence[Turn]) -> list[Turn]:
    first: dict[UUID, Turn] = {}
    for turn in turns:
        first.setdefault(turn.after.saga.id, turn)
    return list(first.values())


def _done(turns: Sequence[Turn], done: AbstractSet[UUID]) -> list[Run | Left]:
    return [turn.after if turn.id in done else LEFT for turn in turns]


async def record(connection: Connection, turns: Sequence[Turn]) -> None:
    """Write turns whose sagas are locked, with their orders, in the caller's transaction."""
    changes = Changes()
    changes.turns += turns
    facts = [fact for turn in turns for fact in turn.facts]
    changes.steps += await steps_of(connection, facts) if facts else []
    changes.outbox += [event for turn in turns for event in turn.events]
    placed = [turn.order for turn in turns if turn.order is not None]
    changes.outbox += [events.created(order) for order in placed if order.expires_at is not None]
    changes.outbox += told(changes.steps)
    await repository.write(connection, changes)
    if refunded := {turn.refunded_return: turn.after.sale.went_back for turn in turns if turn.refunded_return is not None}:
        await repository_returns.settle_refunded(connection, refunded)


async def steps_of(connection: Connection, facts: Sequence[Fact]) -> list[Step]:
    """Lock orders and return the steps that facts make them take; what an order cannot take any more, it does not."""
    found: dict[UUID, Order] = await repository.lock_orders(connection, [fact.order_id for fact in facts])
    steps: list[Step] = []
    for fact in facts:
        order = found.get(fact.order_id)
        if order is None:
            continue
        try:
            taken = domain.walk(order, fact)
        except IllegalTransition:
            continue
        if taken:
            found[order.id] = taken[-1].order
            steps += taken
    return steps


def told(steps: Sequence[Step]) -> list[Outgoing]:
    """Return the events of steps."""
    return [event for event in map(events.stepped, steps) if event is not None]
