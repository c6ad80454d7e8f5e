"""What `careforall verify` says when the coupons are not what they should be."""

from __future__ import annotations

import pytest

from careforall.kit.ids import new_id
from careforall_testing.pricing import Counter, lock

NO_CHECKS = "ALTER TABLE coupons DROP CONSTRAINT coupons_limit; SET session_replication_role = replica"


@pytest.fixture
async def tampered(counter: Counter) -> Counter:
    """Coupons whose books were balanced: one buyer used theirs, another holds it, a third gave it back."""
    await counter.sell("cup")
    await counter.coupon("TENTH", total_limit=3, per_user_limit=1)
    asked = [lock(("cup", 1), coupons=["TENTH"], user_id=new_id()) for _ in range(3)]
    for one in asked:
        assert (await counter.lock(one)).discount
    await counter.redeem(asked[0].holder_id)
    await counter.release(asked[1].holder_id)
    assert await counter.violations() == []
    return counter


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        ("UPDATE coupons SET used = used + 1", {"coupon_counts_are_holds"}),
        ("UPDATE coupons SET held = 0", {"coupon_counts_are_holds"}),
        ("DELETE FROM coupon_holds WHERE state = 'USED'", {"coupon_counts_are_holds"}),
        ("UPDATE coupon_holds SET state = 'HELD' WHERE state = 'RELEASED'", {"coupon_counts_are_holds"}),
        ("UPDATE coupons SET total_limit = 1", {"coupon_limits_hold"}),
        (
            "UPDATE coupons SET used = used + 2",
            {"coupon_counts_are_holds", "coupon_limits_hold"},
        ),
        (
            "UPDATE coupon_holds SET user_id = (SELECT user_id FROM coupon_holds WHERE state = 'USED') WHERE state = 'HELD'",
            {"coupon_limits_hold_for_each_buyer"},
        ),
    ],
)
async def test_every_drift_is_found_and_named(tampered: Counter, damage: str, found: set[str]) -> None:
    await tampered.execute(f"{NO_CHECKS}; {damage}")

    names = {one.partition(":")[0].removeprefix("pricing.") for one in await tampered.violations()}

    assert names == found
