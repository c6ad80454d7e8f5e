"""The steps of checkouts: locking a price with its coupons, keeping it, using it, giving it back; batches from the first line.

Each step carries an id. Its answer is stored in the transaction of its effect, so that a repeat is answered as the first time.
"""

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from typing import Generic, Literal, TypeVar
from uuid import UUID

import msgspec
import structlog

from careforall.contracts.pricing import Extend, Lock, Quote, Refused, Settle, Settled
from careforall.kit import json
from careforall.kit.batch import Busy, GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyReused
from careforall.kit.idempotency import fingerprint
from careforall.kit.ids import NIL
from careforall.pricing import repository_coupons
from careforall.pricing.domain import Coupon
from careforall.pricing.holding import Hands
from careforall.pricing.quoting import Goods, Quoting, codes_of

log = structlog.get_logger(__name__)

T = TypeVar("T")
_SWEPT = 500
_LONGEST = 7 * 24 * 3600

Kind = Literal["EXTEND", "REDEEM", "RELEASE"]


class Asked(msgspec.Struct, Generic[T], frozen=True):
    """A step on its way into a batch."""

    step_id: UUID
    mark: bytes
    body: T


class Settlement(msgspec.Struct, frozen=True):
    """What is to become of all that a holder holds."""

    kind: Kind
    holder_id: UUID
    until: datetime | None = None
    pinned: bool = False


class Checkouts:
    """What checkouts ask for, in shared transactions.

    Args:
        database: The service's own.
        quoting: Makes prices.
        grace: Seconds for which coupons outlive the lock of their price.
        batch_size: Steps per transaction.
        flights: Transactions in flight at once.
    """

    def __init__(self, database: Database, quoting: Quoting, *, grace: float, batch_size: int, flights: int) -> None:
        self._database = database
        self._quoting = quoting
        self._grace = timedelta(seconds=grace)
        self._locks: GroupCommit[Asked[Lock], bytes] = GroupCommit(
            "pricing-locks", database, self._write_locks, max_batch=batch_size, flights=flights
        )
        self._settlements: GroupCommit[Asked[Settlement], bytes] = GroupCommit(
            "pricing-settlements", database, self._write_settlements, max_batch=batch_size, flights=flights
        )

    async def lock(self, payload: bytes) -> bytes:
        """Answer `ask.pricing.lock`."""
        asked = msgspec.json.decode(payload, type=Lock)
        await self._quoting.learn(asked.asked)
        try:
            return await _submitted(self._locks, asked.step_id, asked, b"lock")
        except IdempotencyKeyReused:
            log.warning("a step came with another body", step_id=str(asked.step_id))
            refused = Refused(code="step_reused", subject=str(asked.step_id))
            return json.encode(Quote(quote_id=NIL, refused=[refused]))

    async def extend(self, payload: bytes) -> bytes:
        """Answer `ask.pricing.extend`."""
        asked = msgspec.json.decode(payload, type=Extend)
        return await self._settle(asked.step_id, Settlement("EXTEND", asked.holder_id, asked.until, asked.pinned))

    async def redeem(self, payload: bytes) -> bytes:
        """Answer `ask.pricing.redeem`."""
        asked = msgspec.json.decode(payload, type=Settle)
        return await self._settle(asked.step_id, Settlement("REDEEM", asked.holder_id))

    async def release(self, payload: bytes) -> bytes:
        """Answer `ask.pricing.release`."""
        asked = msgspec.json.decode(payload, type=Settle)
        return await self._settle(asked.step_id, Settlement("RELEASE", asked.holder_id))

    async def sweep(self) -> None:
        """Give back coupons whose holds ran out."""
        while await self._database.run(_swept) == _SWEPT:
            pass

    async def drain(self) -> None:
        """Wait until every accepted step is answered."""
        await self._locks.drain()
        await self._settlements.drain()

    async def _settle(self, step_id: UUID, settlement: Settlement) -> bytes:
        """Settle; a step that comes with another body changes nothing."""
        try:
            return await _submitted(self._settlements, step_id, settlement, settlement.kind.encode())
        except IdempotencyKeyReused:
            log.warning("a step came with another body", step_id=str(step_id))
            return json.encode(Settled(outcome="REFUSED", reason="step_reused"))

    async def _write_locks(self, connection: Connection, batch: Sequence[Asked[Lock]]) -> Sequence[bytes | Exception | Busy]:
        return await _once(connection, batch, self._lock_new)

    async def _lock_new(self, connection: Connection, locks: Sequence[Lock]) -> list[bytes]:
        """Price and lock in order: whoever comes first in the batch gets the last coupon."""
        holders = [lock.holder_id for lock in locks]
        await repository_coupons.lock_holders(connection, holders)
        hands = await self._hands(connection, holders, [code for lock in locks for code in codes_of(lock.asked)], locks)
        goods = await self._quoting.goods(connection, [lock.asked for lock in locks])
        found = [self._lock_one(lock, hands, goods) for lock in locks]
        await _keep(connection, hands)
        kept = {
            lock.holder_id: (lock.holder_id, quote.quote_id, json.encode(quote), quote.locked_until)
            for lock, quote in zip(locks, found, strict=True)
            if quote.locked_until is not None
        }
        await repository_coupons.keep_prices(connection, list(kept.values()))
        return [json.encode(quote) for quote in found]

    def _lock_one(self, lock: Lock, hands: Hands, goods: Goods) -> Quote:
        asked = lock.asked
        priced = goods.price(asked, hands.states(codes_of(asked), lock.holder_id, asked.user_id))
        if not priced.quote.lines:
            return priced.quote
        until = goods.now + timedelta(seconds=min(max(lock.seconds, 1), _LONGEST))
        hands.hold(lock.holder_id, asked.user_id, priced.applied, until + self._grace)
        return msgspec.structs.replace(priced.quote, locked_until=until)

    async def _hands(
        self, connection: Connection, holders: Sequence[UUID], codes: Sequence[str], locks: Sequence[Lock] = ()
    ) -> Hands:
        """Lock the coupons that holders hold or ask for, expire what is overdue of them, and load the holds (rule 16)."""
        held = await repository_coupons.coupons_held_by(connection, holders)
        if not held and not codes:
            return Hands({}, (), {})
        coupons = await repository_coupons.lock_coupons(connection, codes, held)
        expired = await repository_coupons.expire(connection, list(coupons), besides=holders)
        holds = await repository_coupons.holds_of(connection, holders)
        users = {lock.asked.user_id for lock in locks} | {hold.user_id for hold in holds}
        pairs = [(key, user) for key, one in coupons.items() if one.per_user_limit for user in users if user is not None]
        hands = Hands(coupons, holds, await repository_coupons.uses_by(connection, pairs) if pairs else {})
        hands.expired(expired)
        return hands

    async def _write_settlements(
        self, connection: Connection, batch: Sequence[Asked[Settlement]]
    ) -> Sequence[bytes | Exception | Busy]:
        return await _once(connection, batch, self._settle_new)

    async def _settle_new(self, connection: Connection, settlements: Sequence[Settlement]) -> list[bytes]:
        holders = [one.holder_id for one in settlements]
        promised = await repository_coupons.promised_holders(connection, holders)
        hands = await self._hands(connection, sorted(promised), ())
        done = [self._settle_one(one, hands, promised) for one in settlements]
        await _keep(connection, hands)
        both = zip(settlements, done, strict=True)
        if extended := [(one.holder_id, one.until) for one, kept in both if kept and one.until is not None]:
            await repository_coupons.extend_prices(connection, extended)
        await repository_coupons.end_prices(connection, [one.holder_id for one in settlements if one.kind == "RELEASE"])
        return [json.encode(Settled(outcome="DONE" if one else "NOT_HELD")) for one in done]

    def _settle_one(self, one: Settlement, hands: Hands, promised: set[UUID]) -> bool:
        """Settle one holder in memory; False where nothing was promised to it, or a coupon is gone."""
        if one.holder_id not in promised:
            return False
        if one.kind == "REDEEM":
            return hands.redeem(one.holder_id)
        if one.kind == "EXTEND":
            assert one.until is not None
            return hands.extend(one.holder_id, one.until + self._grace, pinned=one.pinned)
        hands.release(one.holder_id)
        promised.discard(one.holder_id)
        return True


async def _submitted(batch: GroupCommit[Asked[T], bytes], step_id: UUID, body: T, kind: bytes) -> bytes:
    mark = fingerprint(kind, json.encode(body))
    return await batch.submit(Asked(step_id, mark, body), key=str(step_id), fingerprint=mark)


async def _once(
    connection: Connection, batch: Sequence[Asked[T]], work: Callable[[Connection, Sequence[T]], Awaitable[list[bytes]]]
) -> list[bytes | Exception | Busy]:
    """Do what is new of a batch and store its answers; give the rest the answers that are stored."""
    new = await repository_coupons.claim_steps(connection, [(asked.step_id, asked.mark) for asked in batch])
    fresh = [asked for asked in batch if asked.step_id in new]
    answers: dict[UUID, bytes | Exception | Busy] = {}
    if repeats := [asked for asked in batch if asked.step_id not in new]:
        stored = await repository_coupons.touch_steps(connection, [asked.step_id for asked in repeats])
        for asked in repeats:
            step = stored[asked.step_id]
            answers[asked.step_id] = step.answer if step.fingerprint == asked.mark else IdempotencyKeyReused()
    if fresh:
        made = await work(connection, [asked.body for asked in fresh])
        pairs = [(asked.step_id, answer) for asked, answer in zip(fresh, made, strict=True)]
        await repository_coupons.answer_steps(connection, pairs)
        answers.update(pairs)
    return [answers[asked.step_id] for asked in batch]


async def _keep(connection: Connection, hands: Hands) -> None:
    """Write what moved: first the counters, then the holds."""
    changed: Sequence[Coupon] = hands.changed_coupons
    if changed:
        await repository_coupons.count_coupons(connection, changed)
    if holds := hands.changed_holds:
        await repository_coupons.keep_holds(connection, holds)


async def _swept(connection: Connection) -> int:
    coupons = await repository_coupons.lock_overdue(connection, _SWEPT)
    if not coupons:
        return 0
    hands = Hands(coupons, (), {})
    hands.expired(await repository_coupons.expire(connection, list(coupons)))
    await _keep(connection, hands)
    return len(coupons)
