"""Drives sagas: asks for the step a saga is at, writes what came of it together with the next intent, and so on until it waits.

Whoever holds a saga is known by its epoch; a takeover raises it, and the one who lost it finds out when writing. Nobody needs to
hold it to be right: a step may be asked for by two at once and has one effect, and only one of them can write what came next.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
import structlog

from careforall.kit import context, crash
from careforall.kit.context import Cause
from careforall.kit.db import Connection, Database
from careforall.kit.errors import PASSING, Problem, Unavailable
from careforall.orders import repository_sagas
from careforall.orders.asking import Asks, Away
from careforall.orders.metrics import SAGA_STEPS, SAGAS_PARKED
from careforall.orders.records import Run, Sale, Turn
from careforall.orders.saga import advance, begin
from careforall.orders.saga_words import Answered, Expired, Saga, SagaEvent
from careforall.orders.settings import OrdersSettings
from careforall.orders.store import Fenced, Store
from careforall.orders.turns import Clock, Turns

log = structlog.get_logger(__name__)

_CLAIMED_AT_ONCE = 64
_LONGEST_RETRY = 60.0
_PARKED_RETRY = 600.0
_LOOK_SECONDS = 0.05


class Driver:
    """Takes sagas from step to step.

    Args:
        asks: Asks the owners of steps.
        store: Writes the steps.
        clock: See `Turns`.
    """

    def __init__(
        self, database: Database, asks: Asks, store: Store, settings: OrdersSettings, *, clock: Clock | None = None
    ) -> None:
        self._database = database
        self._asks = asks
        self._store = store
        self._settings = settings
        self._turns = Turns(settings, clock)
        self._woken: asyncio.Task[None] | None = None
        self._followed: set[asyncio.Task[Run]] = set()

    def told_at(self) -> datetime | None:
        """Return when what happens now happened, in a story of the past; else None, which is when it is written."""
        return self._turns.told_at()

    async def start(self, saga: Saga, sale: Sale, *, request_hash: bytes | None = None) -> Run:
        """Begin a saga; the intent to its first step is written.

        Raises:
            Fenced: There is a saga of this id already.
        """
        before = Run(saga=saga, sale=sale, request_hash=request_hash)
        return await self._store.save(self._turns.of(before, *begin(saga, late=sale.late), sale))

    async def start_with(self, connection: Connection, saga: Saga, sale: Sale) -> Run | None:
        """Begin a saga in the transaction of what it follows from, so that neither is there alone; None where there is one.

        Its row is new, so that nobody who waits for it can hold what the caller has locked.
        """
        turn = self._turns.of(Run(saga=saga, sale=sale), *begin(saga), sale)
        return turn.after if await repository_sagas.begin(connection, [turn]) else None

    async def take(self, run: Run, event: SagaEvent, sale: Sale | None = None) -> Run:
        """Write what an event makes of a saga, taking it over from whoever has it, and leave it to them where that is nothing.

        Raises:
            Fenced: It went on meanwhile.
        """
        turn = self.turn(run, event, sale)
        return run if turn.after.saga is run.saga else await self._store.save(turn)

    def turn(self, run: Run, event: SagaEvent, sale: Sale | None = None) -> Turn:
        """Return what is to be written for an event from outside; the epoch rises."""
        moved, commands = advance(run.saga, event)
        return self._turns.of(run, moved, commands, sale or run.sale, epoch=run.epoch + 1, heard=event)

    async def drive(self, run: Run, *, patient: bool, instead: Sequence[Run] = ()) -> Run:
        """Go on until a saga waits or has ended; an impatient caller is told of an owner that is away, where that is possible.

        Args:
            run: The saga.
            patient: Whether an owner that is away is waited for.
            instead: Sagas on their way back in whose place a new one steps: they go on once it has tried to hold its stock, with
                theirs, and before it keeps a price with coupons that they had.

        Raises:
            Away: A step's owner did not answer; the sweeper goes on.
            Fenced: Somebody else drives it.
        """
        if instead:
            try:
                if run.saga.stage == "reserve":
                    run = await self._advance(run, patient=patient)
            finally:
                await asyncio.gather(*(self._go_back(one) for one in instead))
        while not run.saga.waits and not run.saga.ended:
            run = await self._advance(run, patient=patient)
        return await self._cleared(run)

    async def follow(self, run: Run, *, instead: Sequence[Run] = ()) -> Run | None:
        """Drive a saga for somebody who waits, see `drive`; None where that takes too long, and it goes on without them.

        Raises:
            Away: A step's owner did not answer; see `drive`.
            Fenced: Somebody else drives it.
        """
        task = asyncio.ensure_future(self.drive(run, patient=False, instead=instead))
        self._followed.add(task)
        task.add_done_callback(self._let_go)
        done, _ = await asyncio.wait({task}, timeout=self._settings.saga_wait_seconds)
        return task.result() if done else None

    async def settled(self, identifier: UUID) -> Run | None:
        """Wait until a saga that somebody else drives waits or has ended, and return it as it is then, or after a while."""
        deadline = asyncio.get_running_loop().time() + self._settings.saga_wait_seconds
        while True:
            run = await self._store.load(identifier)
            if run is None or run.saga.waits or run.saga.ended or asyncio.get_running_loop().time() > deadline:
                return await self._cleared(run) if run is not None else None
            await asyncio.sleep(_LOOK_SECONDS)

    async def sweep(self) -> int:
        """Take over what nobody drives any more, and end what has waited too long; return how many."""
        due = await self._database.run(
            lambda connection: repository_sagas.claim_due(connection, self._settings.saga_lease_seconds, _CLAIMED_AT_ONCE)
        )
        await asyncio.gather(*(self._resume(run) for run in due))
        return len(due)

    def wake(self) -> None:
        """Look for sagas to go on with as soon as the running transaction may have committed."""
        if self._woken is None or self._woken.done():
            self._woken = asyncio.ensure_future(self._sweep_soon())

    async def close(self) -> None:
        """Let what is being written be written."""
        if busy := {task for task in (self._woken, *self._followed) if task is not None}:
            await asyncio.wait(busy, timeout=self._settings.saga_wait_seconds)
        await self._store.drain()

    def _let_go(self, task: asyncio.Task[Run]) -> None:
        self._followed.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Away | Fenced):
            log.warning("saga stopped", error=repr(error))

    async def _sweep_soon(self) -> None:
        for pause in (0.01, 0.05):
            await asyncio.sleep(pause)
            try:
                await self.sweep()
            except PASSING as error:
                log.info("sagas wait", error=repr(error))
                return

    async def _resume(self, run: Run) -> None:
        # Whatever woke us may have been about another order: this one goes on in its own name.
        context.enter(Cause(correlation_id=run.sale.correlation_id, traceparent=run.sale.traceparent))
        try:
            if run.saga.waits:
                run = await self.take(run, Expired())
            await self.drive(run, patient=True)
        except Fenced:
            return
        except Away as error:
            log.info("saga waits for an owner", saga_id=str(run.saga.id), step=run.saga.stage, error=str(error))
        except Unavailable as error:
            log.warning("saga cannot be written", saga_id=str(run.saga.id), error=repr(error))
        except Problem as error:
            await self._postpone(run, repr(error))

    async def _go_back(self, run: Run) -> None:
        with contextlib.suppress(Away, Fenced, Problem):
            await self.drive(run, patient=False)

    async def _advance(self, run: Run, *, patient: bool) -> Run:
        step = run.saga.step
        crash.point(f"saga.{step}.before_effect")
        try:
            answer, sale = await self._asks.step(run, step)
        except Away as error:
            return await self._away(run, error, patient=patient)
        crash.point(f"saga.{step}.after_effect")
        moved, commands = advance(run.saga, answer)
        if moved.has("lock") and not moved.coupons and _has_coupons(sale):
            moved = msgspec.structs.replace(moved, coupons=True)
        if moved is run.saga:
            await self._postpone(run, f"{step}: {answer.outcome} {answer.reason}")
            raise Away(f"{step} was answered {answer.outcome}")
        saved = await self._store.save(self._turns.of(run, moved, commands, sale, answered=answer))
        SAGA_STEPS.labels(step=step, outcome=answer.outcome).inc()
        crash.point(f"saga.{step}.after_record")
        return saved

    async def _cleared(self, run: Run) -> Run:
        """Return a saga; a cart that it sold is cleared before the buyer is told, or by the event if carts is away."""
        if run.saga.type == "CHECKOUT" and run.saga.status == "COMPLETED" and run.sale.cart_id is not None:
            with contextlib.suppress(Away):
                await self._asks.clear(run.sale.cart_id, {one.sku: one.quantity for one in run.sale.wanted})
        return run

    async def _away(self, run: Run, error: Away, *, patient: bool) -> Run:
        """Tell an impatient caller by the saga, where nothing has been promised yet; else leave it to be tried again."""
        if not patient:
            step = run.saga.step
            moved, commands = advance(run.saga, Answered(step=step, outcome="AWAY"))
            if moved is not run.saga:
                saved = await self._store.save(self._turns.of(run, moved, commands, run.sale))
                if saved.saga.stage == step:
                    raise Away(str(error)) from error
                return saved
        await self._postpone(run, str(error))
        raise error

    async def _postpone(self, run: Run, error: str) -> None:
        parked = run.tries + 1 >= self._settings.saga_tries
        seconds = _PARKED_RETRY if parked else min(_LONGEST_RETRY, 0.25 * 2 ** min(run.tries, 10))
        done = await self._database.run(
            lambda connection: repository_sagas.postpone(connection, run, seconds=seconds, error=error, park=parked)
        )
        if parked and done:
            SAGAS_PARKED.inc()
            log.error("saga needs a person", saga_id=str(run.saga.id), step=run.saga.stage, error=error)


def _has_coupons(sale: Sale) -> bool:
    refused = {notice.subject for notice in sale.notices}
    return any(code not in refused for code in sale.coupons)
