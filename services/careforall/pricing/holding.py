"""Coupons in the hands of checkouts: the counters of locked coupons and their holds, moved together in memory, then written.

Whoever has locked the coupons' rows loads them here; nothing else moves a counter, so used and held are what the holds say.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from msgspec.structs import replace

from careforall.pricing.coupons import CouponState
from careforall.pricing.domain import Coupon, Hold, HoldState

_COUNTED: frozenset[HoldState] = frozenset({"HELD", "USED"})


class Hands:
    """Locked coupons with the holds of some checkouts.

    Args:
        coupons: By id.
        holds: All holds of the checkouts in question.
        uses: How often users hold or use coupons, by (coupon, user).
    """

    def __init__(self, coupons: Mapping[UUID, Coupon], holds: Iterable[Hold], uses: Mapping[tuple[UUID, UUID], int]) -> None:
        self._coupons = dict(coupons)
        self._by_code = {one.code: one.id for one in coupons.values()}
        self._holds = {(hold.holder_id, hold.coupon_id): hold for hold in holds}
        self._uses = dict(uses)
        self._counted: set[UUID] = set()
        self._moved: set[tuple[UUID, UUID]] = set()

    @property
    def changed_coupons(self) -> list[Coupon]:
        """Coupons whose counters moved, in the order of their ids."""
        return [self._coupons[key] for key in sorted(self._counted, key=lambda key: key.int)]

    @property
    def changed_holds(self) -> list[Hold]:
        """Holds that moved."""
        return [self._holds[key] for key in sorted(self._moved)]

    def expired(self, counts: Mapping[UUID, int]) -> None:
        """Count what the database has expired."""
        for coupon_id, count in counts.items():
            self._count(coupon_id, held=-count)

    def states(self, codes: Iterable[str], holder_id: UUID, user_id: UUID | None) -> dict[str, CouponState]:
        """Return coupons as a checkout meets them: its own hold does not stand in its way."""
        wanted = {code: self._coupons[self._by_code[code]] for code in codes if code in self._by_code}
        return {code: self._state(coupon, holder_id, user_id) for code, coupon in wanted.items()}

    def hold(self, holder_id: UUID, user_id: UUID | None, coupons: Sequence[Coupon], until: datetime) -> None:
        """Let a checkout hold these coupons, and no others that it held before."""
        wanted = {coupon.id for coupon in coupons}
        for hold in self._of(holder_id):
            if hold.coupon_id not in wanted and hold.state != "USED":
                self._move(hold, "RELEASED")
        for coupon in coupons:
            self._take(holder_id, user_id, coupon.id, until)

    def extend(self, holder_id: UUID, until: datetime, *, pinned: bool) -> bool:
        """Keep a checkout's coupons for longer; False where one is held no more."""
        holds = [hold for hold in self._of(holder_id) if hold.state != "RELEASED"]
        if not self._available(holds):
            return False
        for hold in holds:
            if hold.state == "EXPIRED":
                self._move(hold, "HELD")
            key = (holder_id, hold.coupon_id)
            kept = self._holds[key]
            self._put(replace(kept, expires_at=max(kept.expires_at, until), pinned=pinned))
        return True

    def redeem(self, holder_id: UUID) -> bool:
        """Use a checkout's coupons, also those that ran out and are still free; False, and nothing, where one is gone."""
        holds = [hold for hold in self._of(holder_id) if hold.state != "RELEASED"]
        if not self._available(holds):
            return False
        for hold in holds:
            self._move(hold, "USED")
        return True

    def release(self, holder_id: UUID) -> None:
        """Give a checkout's coupons back, the used ones too."""
        for hold in self._of(holder_id):
            self._move(hold, "RELEASED")

    def _of(self, holder_id: UUID) -> list[Hold]:
        return [hold for (holder, _), hold in self._holds.items() if holder == holder_id]

    def _available(self, holds: Sequence[Hold]) -> bool:
        gone = (hold for hold in holds if hold.state == "EXPIRED")
        return all(self._coupons[hold.coupon_id].free != 0 and self._within_user_limit(hold) for hold in gone)

    def _within_user_limit(self, hold: Hold) -> bool:
        limit = self._coupons[hold.coupon_id].per_user_limit
        return limit is None or hold.user_id is None or self._uses.get((hold.coupon_id, hold.user_id), 0) < limit

    def _state(self, coupon: Coupon, holder_id: UUID, user_id: UUID | None) -> CouponState:
        own = self._holds.get((holder_id, coupon.id))
        mine = own is not None and own.state in _COUNTED
        by_user = self._uses.get((coupon.id, user_id), 0) if user_id is not None else 0
        counted = mine and own is not None and own.user_id == user_id
        free = coupon.free
        return CouponState(
            coupon=coupon, free=free + 1 if mine and free is not None else free, by_user=by_user - 1 if counted else by_user
        )

    def _take(self, holder_id: UUID, user_id: UUID | None, coupon_id: UUID, until: datetime) -> None:
        found = self._holds.get((holder_id, coupon_id))
        if found is not None and found.state in _COUNTED:
            self._put(replace(found, expires_at=max(found.expires_at, until)))
            return
        fresh = Hold(holder_id=holder_id, coupon_id=coupon_id, user_id=user_id, state="RELEASED", expires_at=until)
        self._move(fresh, "HELD")

    def _move(self, hold: Hold, state: HoldState) -> None:
        if hold.state == state:
            return
        self._count(
            hold.coupon_id,
            held=(state == "HELD") - (hold.state == "HELD"),
            used=(state == "USED") - (hold.state == "USED"),
        )
        if hold.user_id is not None:
            key = (hold.coupon_id, hold.user_id)
            self._uses[key] = self._uses.get(key, 0) + (state in _COUNTED) - (hold.state in _COUNTED)
        self._put(replace(hold, state=state))

    def _count(self, coupon_id: UUID, *, held: int = 0, used: int = 0) -> None:
        coupon = self._coupons[coupon_id]
        self._coupons[coupon_id] = replace(coupon, held=coupon.held + held, used=coupon.used + used)
        self._counted.add(coupon_id)

    def _put(self, hold: Hold) -> None:
        key = (hold.holder_id, hold.coupon_id)
        self._holds[key] = hold
        self._moved.add(key)
