"""What staff do: coupons, and the rules of prices. Every change is checked, versioned and one transaction."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from msgspec import UNSET
from msgspec.structs import asdict, replace

from careforall.kit import outbox
from careforall.kit.context import NOBODY, current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import NotFound, VersionConflict
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing
from careforall.pricing import checking, events, repository, repository_coupons
from careforall.pricing.domain import Coupon, Promotion, Rulebook, ShippingRate, ShippingStep, TaxRate
from careforall.pricing.errors import (
    CouponCodeTaken,
    CouponNotFound,
    LimitBelowUse,
    PromotionNotFound,
    RatePlaceTaken,
    ShippingRateNotFound,
    TaxModeConflict,
    TaxRateNotFound,
)
from careforall.pricing.schemas import CouponPatch, NewCoupon, PromotionIn, ShippingRateIn, TaxRateIn

R = TypeVar("R", Promotion, TaxRate, ShippingRate)


class Coupons:
    """Coupons as staff keep them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, connection: Connection, new: NewCoupon) -> Coupon:
        """Make a coupon in the caller's transaction.

        Raises:
            CouponCodeTaken: Another coupon has the code.
        """
        now = await repository.now(connection)
        made = checking.checked_coupon(
            Coupon(id=new_id(), **(asdict(new) | {"code": new.code.upper()}), created_at=now, updated_at=now)
        )
        if not await repository_coupons.insert_coupon(connection, made):
            raise CouponCodeTaken
        await outbox.insert(connection, [events.changed(made, current())])
        return made

    async def one(self, coupon_id: UUID) -> Coupon:
        """Return a coupon."""
        async with self._database.connection() as connection:
            return _found(await repository_coupons.coupon(connection, coupon_id))

    async def some(self, code: str, before: UUID | None, limit: int, *, active: bool | None) -> list[Coupon]:
        """Return coupons, newest first."""
        async with self._database.connection() as connection:
            return await repository_coupons.coupons(connection, code.upper(), before, limit, active=active)

    async def change(self, coupon_id: UUID, patch: CouponPatch, version: int | None) -> Coupon:
        """Change what is given.

        Raises:
            LimitBelowUse: The new limit is below what is used and held.
        """

        async def work(connection: Connection) -> Coupon:
            found = _found(await repository_coupons.coupon(connection, coupon_id, lock=True))
            return await _stored(connection, _patched(found, patch), found, version)

        return await self._database.run(work)

    async def end(self, coupon_id: UUID, version: int | None) -> None:
        """End a coupon for good; its uses stay on record and its code stays taken."""

        async def work(connection: Connection) -> None:
            found = _found(await repository_coupons.coupon(connection, coupon_id, lock=True))
            await _stored(connection, replace(found, active=False), found, version)

        await self._database.run(work)

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present state of coupons as events, for projections that start anew."""
        return [events.changed(one, NOBODY) for one in await repository_coupons.all_coupons(connection, after, limit)]


class Rules:
    """Promotions, tax rates and shipping rates as staff keep them: few, so that all of them are read at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> Rulebook:
        """Return all rules."""
        async with self._database.connection() as connection:
            return await repository.rulebook(connection)

    async def put_promotion(
        self, connection: Connection, given: PromotionIn, rule_id: UUID | None = None, version: int | None = None
    ) -> Promotion:
        """Make a promotion, or replace one, in the caller's transaction."""

        def build(former: Promotion | None, now: datetime, _: Rulebook) -> Promotion:
            return checking.checked_promotion(Promotion(**_fields(given), **_life(former, now)))

        return await _put(connection, rule_id, version, build, lambda book: book.promotions, PromotionNotFound)

    async def put_tax_rate(
        self, connection: Connection, given: TaxRateIn, rule_id: UUID | None = None, version: int | None = None
    ) -> TaxRate:
        """Make a tax rate, or replace one, in the caller's transaction."""

        def build(former: TaxRate | None, now: datetime, book: Rulebook) -> TaxRate:
            made = checking.checked_tax_rate(TaxRate(**_fields(given), **_life(former, now)))
            others = [rate for rate in book.tax_rates if rate.id != made.id and rate.country == made.country]
            if any((rate.region, rate.category) == (made.region, made.category) for rate in others):
                raise RatePlaceTaken
            if any(rate.inclusive != made.inclusive for rate in others):
                raise TaxModeConflict
            return made

        return await _put(connection, rule_id, version, build, lambda book: book.tax_rates, TaxRateNotFound)

    async def put_shipping_rate(
        self, connection: Connection, given: ShippingRateIn, rule_id: UUID | None = None, version: int | None = None
    ) -> ShippingRate:
        """Make a shipping rate, or replace one, in the caller's transaction."""

        def build(former: ShippingRate | None, now: datetime, book: Rulebook) -> ShippingRate:
            fields = {name: value for name, value in _fields(given).items() if name != "amount"}
            if given.amount is not None:
                fields["steps"] = (*given.steps, ShippingStep(from_value=given.amount * 0, amount=given.amount))
            made = checking.checked_shipping_rate(ShippingRate(**fields, **_life(former, now)))
            place = (made.country, made.region, made.currency)
            if any((rate.country, rate.region, rate.currency) == place for rate in book.shipping_rates if rate.id != made.id):
                raise RatePlaceTaken
            return made

        return await _put(connection, rule_id, version, build, lambda book: book.shipping_rates, ShippingRateNotFound)

    async def drop(
        self, rule_id: UUID, version: int | None, kind: Callable[[Rulebook], Sequence[R]], missing: type[NotFound]
    ) -> None:
        """Remove a rule."""

        async def work(connection: Connection) -> None:
            await repository.open_rulebook(connection)
            former = find(kind(await repository.rulebook(connection)), rule_id, missing)
            _refuse_stale(former.version, version)
            await repository.drop_rule(connection, former)

        await self._database.run(work)


def find(rules: Sequence[R], rule_id: UUID, missing: type[NotFound]) -> R:
    """Return a rule by its id.

    Raises:
        NotFound: Of the given kind.
    """
    found = next((rule for rule in rules if rule.id == rule_id), None)
    if found is None:
        raise missing
    return found


def _found(coupon: Coupon | None) -> Coupon:
    if coupon is None:
        raise CouponNotFound
    return coupon


def _patched(coupon: Coupon, patch: CouponPatch) -> Coupon:
    fields = {name: getattr(patch, name) for name in patch.__struct_fields__ if name != "version"}
    return replace(coupon, **{name: value for name, value in fields.items() if value is not UNSET})


async def _stored(connection: Connection, changed: Coupon, former: Coupon, version: int | None) -> Coupon:
    _refuse_stale(former.version, version)
    now = await repository.now(connection)
    stored = replace(checking.checked_coupon(changed), version=former.version + 1, updated_at=now)
    if stored.free is not None and stored.free < 0:
        raise LimitBelowUse(used=stored.used, held=stored.held)
    await repository_coupons.update_coupon(connection, stored)
    await outbox.insert(connection, [events.changed(stored, current())])
    return stored


def _refuse_stale(present: int, wanted: int | None) -> None:
    if wanted is not None and wanted != present:
        raise VersionConflict(present)


def _fields(given: PromotionIn | TaxRateIn | ShippingRateIn) -> dict[str, Any]:
    return {name: value for name, value in asdict(given).items() if name != "version"}


def _life(former: Promotion | TaxRate | ShippingRate | None, now: datetime) -> dict[str, Any]:
    """Return the fields that tell of a rule's life."""
    if former is None:
        return {"id": new_id(), "version": 1, "created_at": now, "updated_at": now}
    return {"id": former.id, "version": former.version + 1, "created_at": former.created_at, "updated_at": now}


async def _put(
    connection: Connection,
    rule_id: UUID | None,
    version: int | None,
    build: Callable[[R | None, datetime, Rulebook], R],
    kind: Callable[[Rulebook], Sequence[R]],
    missing: type[NotFound],
) -> R:
    await repository.open_rulebook(connection)
    book = await repository.rulebook(connection)
    former = None if rule_id is None else find(kind(book), rule_id, missing)
    if former is not None:
        _refuse_stale(former.version, version)
    made = build(former, await repository.now(connection), book)
    await repository.put_rule(connection, made)
    return made
