"""Changing carts: concurrent changes share a transaction that locks their carts once, by id (rule 17).

Changes of one cart in one batch follow each other in memory, so none is lost; carts that somebody else holds are queued again.
"""

import uuid
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec.structs import replace

from careforall.carts import domain, repository, view
from careforall.carts.domain import Add, AddCoupon, Cart, Change, Merge, Moment
from careforall.carts.errors import CartClosed, CartNotFound
from careforall.carts.settings import CartsSettings
from careforall.kit import claims, json
from careforall.kit.batch import BUSY, Busy, GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Problem, VersionConflict
from careforall.kit.idempotency import Answer, Call
from careforall.kit.ids import new_id

_OK, _CREATED = 200, 201
_REMEMBERED = 64


class Owner(msgspec.Struct, frozen=True, kw_only=True):
    """Whose cart is meant: a user's own, or a guest's by its id; `fresh` where that cart is still to be made."""

    user_id: UUID | None = None
    cart_id: UUID | None = None
    fresh: bool = False

    @property
    def key(self) -> str:
        """Names the owner's cart in caches and scopes."""
        return f"u:{self.user_id}" if self.user_id is not None else f"g:{self.cart_id}"


def new_guest() -> Owner:
    """Return the owner of a cart that is still to be made; its id is random, so nobody can guess it."""
    return Owner(cart_id=uuid.uuid4(), fresh=True)


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """A change on its way into a batch."""

    id: UUID
    owner: Owner
    change: Change | Merge
    version: int | None = None
    call: Call | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a change: the finished answer and the cart as it was stored."""

    answer: Answer
    cart: Cart | None = None


class Changing:
    """Writes changes in shared transactions."""

    def __init__(self, database: Database, settings: CartsSettings) -> None:
        self._settings = settings
        self._batch: GroupCommit[Wanted, Done] = GroupCommit(
            "carts", database, self._write, max_batch=settings.batch_size, flights=settings.batch_flights
        )

    async def submit(self, wanted: Wanted) -> Done:
        """Write a change and return what came of it.

        Raises:
            Problem: The change was refused; nothing was written.
        """
        if wanted.call is None:
            return await self._batch.submit(wanted, key=str(wanted.id))
        return await self._batch.submit(
            wanted, key=f"{wanted.call.scope}\0{wanted.call.key}", fingerprint=wanted.call.fingerprint
        )

    async def drain(self) -> None:
        """Wait until every accepted change is answered."""
        await self._batch.drain()

    async def merge_now(self, connection: Connection, user_id: UUID, guest_cart_id: UUID) -> Cart | None:
        """Merge in the caller's transaction; None where there is nothing to merge."""
        await repository.make_missing(connection, [user_id], [uuid.uuid4()])
        carts = await repository.lock_carts(connection, [user_id], [guest_cart_id], wait=True)
        wanted = Wanted(id=new_id(), owner=Owner(user_id=user_id), change=Merge(guest_cart_id=guest_cart_id))
        table = _Table(carts, carts, await _moment(connection, [wanted], carts))
        try:
            cart = table.apply(wanted)
        except Problem:
            return None
        await table.store(connection)
        return cart

    async def _write(self, connection: Connection, batch: Sequence[Wanted]) -> Sequence[Done | Exception | Busy]:
        replays = await claims.claim(connection, [wanted.call for wanted in batch if wanted.call is not None])
        fresh = [wanted for wanted in batch if wanted.call is None or claims.key_of(wanted.call) not in replays]
        made = await self._apply(connection, fresh) if fresh else []
        await _settle(connection, fresh, made)
        rest = iter(made)
        said = [replays.get(claims.key_of(wanted.call)) if wanted.call is not None else None for wanted in batch]
        return [next(rest) if one is None else _replayed(one) for one in said]

    async def _apply(self, connection: Connection, batch: Sequence[Wanted]) -> list[Done | Exception | Busy]:
        """Apply what is new under the locks of its carts."""
        users = sorted({wanted.owner.user_id for wanted in batch if wanted.owner.user_id is not None})
        ids = {key for wanted in batch for key in (wanted.owner.cart_id, _guest(wanted)) if key is not None}
        if users:
            await repository.make_missing(connection, users, [uuid.uuid4() for _ in users])
        carts = await repository.lock_carts(connection, users, sorted(ids))
        known = carts if _all_locked(batch, carts) else await repository.find_carts(connection, users, sorted(ids))
        moment = await _moment(connection, batch, carts)
        table = _Table(carts, known, moment)
        table.begin([wanted.owner for wanted in batch if wanted.owner.fresh])
        outcomes = [table.outcome(wanted) for wanted in batch]
        stored = await table.store(connection)
        return [self._done(one, wanted, moment, stored) for one, wanted in zip(outcomes, batch, strict=True)]

    def _done(
        self, outcome: Cart | Exception | Busy, wanted: Wanted, moment: Moment, stored: dict[UUID, datetime]
    ) -> Done | Exception | Busy:
        if not isinstance(outcome, Cart):
            return outcome
        cart = replace(outcome, updated_at=stored.get(outcome.id, outcome.updated_at))
        days = view.owner_days(cart.user_id, guest=self._settings.guest_cart_days, user=self._settings.user_cart_days)
        body = json.encode(view.shown(cart, moment.shelf, now=moment.now, days=days))
        status = _CREATED if isinstance(wanted.change, (Add, AddCoupon)) else _OK
        return Done(answer=Answer(status=status, body=body), cart=cart)


class _Table:
    """The locked carts of a batch, as its changes leave them one after the other.

    Args:
        locked: Carts whose rows are ours.
        known: Carts that exist, ours or held by somebody else.
        moment: What changes are judged by.
    """

    def __init__(self, locked: Sequence[Cart], known: Sequence[Cart], moment: Moment) -> None:
        self._moment = moment
        self._carts = {cart.id: cart for cart in locked}
        self._of_user = {cart.user_id: cart.id for cart in locked if cart.user_id is not None and cart.state == "ACTIVE"}
        self._held = {cart.id for cart in known} - set(self._carts)
        self._held_users = {cart.user_id for cart in known if cart.id in self._held}
        self._changed: set[UUID] = set()
        self._begun: set[UUID] = set()

    def begin(self, owners: Sequence[Owner]) -> None:
        """Lay out carts that are still to be made; they are stored with what is put in, and not at all where that is refused."""
        for owner in owners:
            if owner.cart_id is not None and owner.cart_id not in self._carts:
                self._carts[owner.cart_id] = Cart(id=owner.cart_id, updated_at=self._moment.now)
                self._begun.add(owner.cart_id)

    def outcome(self, wanted: Wanted) -> Cart | Exception | Busy:
        """Apply a change; one whose cart somebody else holds comes again."""
        if {wanted.owner.cart_id, _guest(wanted)} & self._held or self._is_held(wanted.owner.user_id):
            return BUSY
        try:
            return self.apply(wanted)
        except Problem as refusal:
            return refusal

    def apply(self, wanted: Wanted) -> Cart:
        """Apply a change to its cart and return that.

        Raises:
            Problem: It is refused.
        """
        cart = self._own(wanted.owner)
        if wanted.id in cart.recent:
            return cart
        if wanted.version is not None and wanted.version != cart.version:
            raise VersionConflict(cart.version)
        if isinstance(wanted.change, Merge):
            return self._merge(cart, wanted.change.guest_cart_id)
        moment = replace(self._moment, new_id=new_id())
        return self._put(cart, wanted.change.apply(cart, moment), wanted.id)

    async def store(self, connection: Connection) -> dict[UUID, datetime]:
        """Write the carts that changed; return when."""
        if begun := [self._carts[key] for key in self._changed & self._begun]:
            await repository.insert_carts(connection, begun)
        changed = [self._carts[key] for key in self._changed - self._begun]
        return await repository.store_carts(connection, changed) if changed else {}

    def _is_held(self, user_id: UUID | None) -> bool:
        return user_id is not None and user_id not in self._of_user and user_id in self._held_users

    def _own(self, owner: Owner) -> Cart:
        key = self._of_user.get(owner.user_id) if owner.user_id is not None else owner.cart_id
        cart = self._carts.get(key) if key is not None else None
        if cart is None or cart.user_id != owner.user_id:
            raise CartNotFound
        if cart.state != "ACTIVE":
            raise CartClosed(state=cart.state)
        return cart

    def _merge(self, own: Cart, guest_cart_id: UUID) -> Cart:
        """Merge a guest's cart; one that was merged before, and one's own, change nothing."""
        guest = self._carts.get(guest_cart_id)
        if guest is not None and own.id in (guest.id, guest.merged_into):
            return own
        if guest is None or guest.user_id is not None or guest.state == "MERGED":
            raise CartNotFound
        if guest.state != "ACTIVE":
            raise CartClosed(state=guest.state)
        self._put(guest, replace(guest, state="MERGED", merged_into=own.id))
        return self._put(own, domain.merged(own, guest, self._moment.shelf))

    def _put(self, before: Cart, after: Cart, change: UUID | None = None) -> Cart:
        if after == before:
            return before
        recent = (*before.recent, change)[-_REMEMBERED:] if change is not None else before.recent
        stored = replace(after, version=before.version + 1, recent=recent)
        self._carts[stored.id] = stored
        self._changed.add(stored.id)
        return stored


def _all_locked(batch: Sequence[Wanted], locked: Sequence[Cart]) -> bool:
    """Whether every cart that is meant is there and ours, so that nobody else can hold one of them."""
    ids = {cart.id for cart in locked}
    users = {cart.user_id for cart in locked if cart.state == "ACTIVE"}
    return all(
        (wanted.owner.user_id in users if wanted.owner.user_id is not None else wanted.owner.cart_id in ids)
        and _guest(wanted) in {None, *ids}
        for wanted in batch
    )


async def _moment(connection: Connection, batch: Sequence[Wanted], carts: Sequence[Cart]) -> Moment:
    """Read what the changes of a batch are judged by."""
    skus = [item.sku for cart in carts for item in cart.items]
    skus += [wanted.change.sku for wanted in batch if isinstance(wanted.change, Add)]
    codes = [wanted.change.code for wanted in batch if isinstance(wanted.change, AddCoupon)]
    return Moment(
        shelf=await repository.goods(connection, skus) if skus else {},
        coupons=await repository.coupons(connection, codes) if codes else {},
        now=await repository.now(connection),
        new_id=new_id(),
    )


async def _settle(connection: Connection, fresh: Sequence[Wanted], outcomes: Sequence[Done | Exception | Busy]) -> None:
    """Store the answers of keys that are new, and free those of what is refused or comes again."""
    pairs = [(wanted.call, one) for wanted, one in zip(fresh, outcomes, strict=True) if wanted.call is not None]
    await claims.settle(
        connection,
        [(call, one.answer) for call, one in pairs if isinstance(one, Done)],
        [call for call, one in pairs if not isinstance(one, Done)],
    )


def _replayed(said: Answer | Exception) -> Done | Exception:
    return Done(answer=said) if isinstance(said, Answer) else said


def _guest(wanted: Wanted) -> UUID | None:
    return wanted.change.guest_cart_id if isinstance(wanted.change, Merge) else None
