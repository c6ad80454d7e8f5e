"""Keeping stock: everything that changes it goes through one batch, from the first line.

Concurrent requests of every kind share a transaction. It locks their SKUs once, in key order (a hot SKU is waited for, never
skipped), reads what lies there, does all that is asked in memory and writes the outcome in one statement. Holds of these SKUs
that ran out are expired under the same locks before anything is reserved (rule 16). What a step was answered is stored along, so
that asked again it is answered the same.

What else has to be locked is looked up before the locks. A batch of reservations locks at once: as a rule its holders and steps
are new and nothing is overdue, and one statement under the locks says so and reads the shelves. Where it says otherwise, the look
is taken then; a batch that should have locked more by it starts again, and looks first.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypeGuard
from uuid import UUID

import asyncpg
import msgspec

from careforall.contracts.inventory import Reserved, Settled
from careforall.inventory import domain, events, repository, repository_book
from careforall.inventory.book import Book
from careforall.inventory.domain import Action, AdjustStock, CountStock, ReserveStock, Shelf, Warehouse
from careforall.inventory.hints import Hints
from careforall.inventory.repository_book import Step
from careforall.inventory.schemas import StockRow
from careforall.kit import json
from careforall.kit.batch import Busy, GroupCommit
from careforall.kit.context import Cause
from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyReused, Problem
from careforall.kit.idempotency import Answer
from careforall.kit.metrics import RESERVATIONS

OK = 200
STATUS: Mapping[str, int] = {"RESERVED": 201, "OUT_OF_STOCK": 409, "UNKNOWN_SKU": 404, "DONE": OK, "NOT_HELD": 409}
"""How HTTP says what came of it."""
_LOOKS_FIRST_SECONDS = 1.0
"""How long batches look before they lock, once one has locked too little: long enough for it to be done again."""
_COUNTED = {"PENDING": "reserved", "CONFIRMED": "confirmed", "RELEASED": "released", "EXPIRED": "expired"}


class Asked(msgspec.Struct, frozen=True):
    """One request on its way into a batch."""

    step_id: UUID
    fingerprint: bytes
    action: Action
    cause: Cause


class Done(msgspec.Struct, frozen=True):
    """A committed answer, with the book in which it stands."""

    answer: Answer
    book: Book


class Keeping:
    """Changes stock in shared transactions."""

    def __init__(self, database: Database, hints: Hints, *, default_warehouse: str, batch_size: int, flights: int) -> None:
        self._hints = hints
        self._default_warehouse = default_warehouse
        self._looks_first_until = 0.0
        self._batch: GroupCommit[Asked, Done] = GroupCommit(
            "inventory", database, self._write, max_batch=batch_size, flights=flights
        )
        self._refusals: GroupCommit[Step, Answer] = GroupCommit(
            "inventory-refusals", database, self._write_refusals, max_batch=batch_size, flights=1
        )

    async def ask(self, asked: Asked) -> Answer:
        """Do what is asked, or return what the step was answered before.

        Raises:
            IdempotencyKeyReused: The step was asked for something else.
        """
        done = await self._batch.submit(asked, key=str(asked.step_id), fingerprint=asked.fingerprint)
        if done.book.close():
            self._hints.after(done.book)
            _count(done.book)
        return done.answer

    async def refuse(self, asked: Asked, short: Reserved) -> Answer:
        """Answer that nothing is left without looking at the stock, unless the step was answered before.

        Stored as every answer is: the same step under way elsewhere is then answered the same, and holds nothing.
        """
        answer = _answer(short)
        step = Step(step_id=asked.step_id, fingerprint=asked.fingerprint, status=answer.status, answer=answer.body)
        return await self._refusals.submit(step, key=str(step.step_id), fingerprint=step.fingerprint)

    async def drain(self) -> None:
        """Wait until everything accepted is answered."""
        await self._batch.drain()
        await self._refusals.drain()

    async def _write_refusals(self, connection: Connection, steps: Sequence[Step]) -> Sequence[Answer | Exception | Busy]:
        won = await repository_book.store_steps(connection, steps)
        lost = [step for step in steps if step.step_id not in won]
        stored: Mapping[UUID, Step] = {}
        if lost:
            await repository_book.touch_steps(connection, [step.step_id for step in lost])
            _, stored = await repository_book.steps(connection, [step.step_id for step in lost])
        return [
            _again(stored[step.step_id], step.fingerprint)
            if step.step_id in stored
            else Answer(status=step.status, body=step.answer)
            for step in steps
        ]

    async def _write(self, connection: Connection, asked: Sequence[Asked]) -> Sequence[Done | Exception | Busy]:
        """Write a batch; a step or holder that another process made in between has it done again from the start."""
        try:
            return await self._written(connection, asked)
        except asyncpg.UniqueViolationError as error:
            raise asyncpg.SerializationError(str(error)) from error

    async def _written(self, connection: Connection, asked: Sequence[Asked]) -> Sequence[Done | Exception]:
        made = await repository_book.make_skus(connection, [one.action.sku for one in asked if _makes_sku(one.action)])
        book, stored = await self._open(connection, asked)
        outcomes = _replayed(asked, stored)
        if outcomes:
            await repository_book.touch_steps(connection, list(outcomes))
        answered = _act(book, [one for one in asked if one.step_id not in outcomes], outcomes)
        await repository_book.write(connection, book, answered, events.of_book(book))
        await repository_book.forget_skus(connection, made - book.changed_skus)
        found = [outcomes[one.step_id] for one in asked]
        return [Done(one, book) if isinstance(one, Answer) else one for one in found]

    async def _open(self, connection: Connection, asked: Sequence[Asked]) -> tuple[Book, Mapping[UUID, Step]]:
        """Lock and read what the batch needs; return the open book, and what was answered before."""
        skus = {sku for one in asked for sku in domain.skus_of(one.action)}
        holders = {holder for one in asked for holder in domain.holders_of(one.action)}
        locked: Mapping[str, int] | None = None
        if self._may_lock_at_once(asked):
            locked = await repository_book.lock_skus(connection, skus)
            page = await repository_book.glance(connection, locked, holders, [one.step_id for one in asked])
            if page is not None:
                return Book(page, warehouses={}, default_warehouse=self._default_warehouse), {}
        found = await repository_book.survey(connection, skus, holders)
        locked = await self._lock(connection, skus, skus | {sku for sku, _ in found}, locked)
        now, stored = await repository_book.steps(connection, [one.step_id for one in asked])
        page = await repository_book.read_page(connection, locked, holders | {holder for _, holder in found}, now)
        if any(hold.holder_id in holders and hold.sku not in locked for hold in page.holds):
            raise asyncpg.SerializationError("a holder got something else while we waited for its locks")
        warehouses = await self._warehouses(connection, asked)
        return Book(page, warehouses=warehouses, default_warehouse=self._default_warehouse), stored

    async def _lock(
        self, connection: Connection, named: set[str], wanted: set[str], locked: Mapping[str, int] | None
    ) -> Mapping[str, int]:
        """Lock what is wanted, unless that has been done; where only what was named is locked, the batch has to start again."""
        if locked is None:
            return await repository_book.lock_skus(connection, wanted)
        if wanted != named:
            self._looks_first_until = time.monotonic() + _LOOKS_FIRST_SECONDS
            raise asyncpg.SerializationError("more has to be locked, and in key order from the start")
        return locked

    def _may_lock_at_once(self, asked: Sequence[Asked]) -> bool:
        """Whether a batch names all SKUs itself, as far as anybody can tell without a look."""
        return time.monotonic() >= self._looks_first_until and all(_is_new_hold(one.action) for one in asked)

    async def _warehouses(self, connection: Connection, asked: Sequence[Asked]) -> Mapping[str, Warehouse]:
        """Read the warehouses where a batch may put stock into a new place."""
        if not any(isinstance(one.action, CountStock | AdjustStock) for one in asked):
            return {}
        return {one.code: one for one in await repository.warehouses(connection)}


def _is_new_hold(action: Action) -> bool:
    """Whether an action is about nothing but what it names, as a rule."""
    return isinstance(action, ReserveStock) and not action.takes


def _makes_sku(action: Action) -> TypeGuard[CountStock]:
    """Whether an action makes its SKU known."""
    return isinstance(action, CountStock)


def _replayed(asked: Sequence[Asked], stored: Mapping[UUID, Step]) -> dict[UUID, Answer | Exception]:
    """Return the answers of steps that were answered before, as then."""
    return {one.step_id: _again(step, one.fingerprint) for one in asked if (step := stored.get(one.step_id)) is not None}


def _again(step: Step, fingerprint: bytes) -> Answer | Exception:
    """Return what a step was answered, to whoever asks the same."""
    if step.fingerprint != fingerprint:
        return IdempotencyKeyReused()
    return Answer(status=step.status, body=step.answer, replayed=True)


def _act(book: Book, fresh: Sequence[Asked], outcomes: dict[UUID, Answer | Exception]) -> list[Step]:
    """Do all that is asked, in the batch's order; return what is to be remembered. A refused step may be asked again."""
    answered: list[Step] = []
    expired = False
    for one in sorted(fresh, key=lambda one: domain.rank(one.action)):
        if not expired and domain.after_expiry(one.action):
            book.expire_overdue()
            expired = True
        try:
            result = book.act(one.action, one.cause)
        except Problem as refusal:
            outcomes[one.step_id] = refusal
            continue
        answer = _answer(result)
        outcomes[one.step_id] = answer
        answered.append(Step(step_id=one.step_id, fingerprint=one.fingerprint, status=answer.status, answer=answer.body))
    if not expired:
        book.expire_overdue()
    return answered


def _answer(result: Reserved | Settled | Shelf) -> Answer:
    if isinstance(result, Shelf):
        return Answer(status=OK, body=json.encode(StockRow.of(result)))
    return Answer(status=STATUS[result.outcome], body=json.encode(result))


def _count(book: Book) -> None:
    for status, number in Counter(told.status for told in book.told).items():
        RESERVATIONS.labels(outcome=_COUNTED[status]).inc(number)
    if book.refused:
        RESERVATIONS.labels(outcome="refused").inc(book.refused)
