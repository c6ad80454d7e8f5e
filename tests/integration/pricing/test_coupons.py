"""Coupons on a real PostgreSQL: the limit under load, steps asked twice, holds that run out, and a model of it all."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from careforall.contracts.pricing import Extend, HeldQuoteAsked
from careforall.kit import json
from careforall.kit.ids import new_id
from careforall.pricing import repository_coupons
from careforall_testing.databases import connection
from careforall_testing.pricing import Counter, lock, opened_counter
from careforall_testing.servers import ServerUrls

_READ = "SELECT idx_scan, idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'coupon_holds_overdue'"


async def test_a_thousand_buyers_at_once_and_a_limit_of_a_hundred_are_exactly_a_hundred(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("RUSH", total_limit=100)
    holders = [new_id() for _ in range(1000)]
    quotes = await asyncio.gather(*(counter.lock(lock(("cup", 1), holder=holder, coupons=["rush"])) for holder in holders))
    assert sum(1 for quote in quotes if quote.discount) == 100
    assert {one.code for quote in quotes for one in quote.refused} == {"coupon_exhausted"}
    assert await counter.counts(coupon) == (0, 100)
    settled = await asyncio.gather(*(counter.redeem(holder) for holder in holders))
    assert {one.outcome for one in settled} == {"DONE"}, "a lock without a coupon has nothing to lose"
    assert await counter.counts(coupon) == (100, 0)
    assert await counter.violations() == []


async def test_one_buyer_s_many_tabs_stay_within_the_limit_for_each_buyer(counter: Counter) -> None:
    await counter.sell("cup")
    await counter.coupon("EACH", per_user_limit=3)
    first, second = new_id(), new_id()
    quotes = await asyncio.gather(
        *(counter.lock(lock(("cup", 1), coupons=["EACH"], user_id=user)) for user in (first, second) for _ in range(20))
    )
    assert [sum(1 for quote in part if quote.discount) for part in (quotes[:20], quotes[20:])] == [3, 3]
    assert await counter.violations() == []


@pytest.mark.parametrize("limit", ["total_limit", "per_user_limit"])
async def test_a_quote_counts_what_its_own_checkout_holds(counter: Counter, limit: str) -> None:
    await counter.sell("cup")
    await counter.coupon("ONE", **{limit: 1})
    asked = lock(("cup", 1), coupons=["ONE"], user_id=new_id())
    held = await counter.lock(asked)
    facts = msgspec.structs.asdict(asked.asked)
    own = await counter.quote(HeldQuoteAsked(**facts, holder_id=asked.holder_id))
    assert held.discount == own.discount > 0
    for other in (HeldQuoteAsked(**facts, holder_id=new_id()), HeldQuoteAsked(**facts), asked.asked):
        quote = await counter.quote(other)
        assert (quote.discount, len(quote.refused)) == (Decimal(0), 1)
    await counter.release(asked.holder_id)
    assert (await counter.quote(asked.asked)).discount == held.discount, "it is free again"


async def test_a_step_asked_again_is_answered_as_the_first_time_and_does_nothing_twice(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("ONCE", total_limit=2)
    asked = lock(("cup", 1), coupons=["ONCE"])
    answers = await asyncio.gather(*(counter.service.checkouts.lock(json.encode(asked)) for _ in range(20)))
    await counter.execute("UPDATE products SET base_price = 99")
    answers += [await counter.service.checkouts.lock(json.encode(asked))]
    assert len(set(answers)) == 1
    assert await counter.counts(coupon) == (0, 1)
    step = new_id()
    assert {(await counter.redeem(asked.holder_id, step)).outcome for _ in range(3)} == {"DONE"}
    assert await counter.counts(coupon) == (1, 0)


async def test_a_coupon_comes_back_however_late_its_order_is_called_off(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("LATE", total_limit=1)
    with_coupon, without = lock(("cup", 1), coupons=["LATE"]), lock(("cup", 1))
    for asked in (with_coupon, without):
        await counter.lock(asked)
        assert (await counter.redeem(asked.holder_id)).outcome == "DONE"
    await counter.execute("UPDATE locked_prices SET updated_at = clock_timestamp() - interval '1 year'")
    await counter.service.prune()
    assert (await counter.release(without.holder_id)).outcome == "NOT_HELD"
    assert (await counter.release(with_coupon.holder_id)).outcome == "DONE"
    assert await counter.counts(coupon) == (0, 0)


async def test_another_body_under_a_step_is_refused_and_changes_nothing(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("SAME", total_limit=5)
    step = new_id()
    await counter.lock(lock(("cup", 1), step=step))
    for other in (lock(("cup", 1), step=step, coupons=["SAME"]), lock(("cup", 2), step=step)):
        quote = await counter.lock(other)
        assert ([one.code for one in quote.refused], quote.lines) == (["step_reused"], [])
    settled = await counter.redeem(new_id(), step)
    assert (settled.outcome, settled.reason) == ("REFUSED", "step_reused")
    assert await counter.counts(coupon) == (0, 0)


async def test_the_locked_price_is_kept_with_its_lines_and_a_new_lock_takes_its_place(counter: Counter) -> None:
    await counter.sell("cup")
    first, second = await counter.coupon("FIRST"), await counter.coupon("SECOND")
    holder = new_id()
    await counter.lock(lock(("cup", 1), holder=holder, coupons=["FIRST"]))
    quote = await counter.lock(lock(("cup", 3), holder=holder, coupons=["SECOND"], seconds=60))
    assert (await counter.counts(first), await counter.counts(second)) == ((0, 0), (0, 1))
    async with connection(counter.url) as opened:
        row = await opened.fetchrow(
            "SELECT quote_id, quote -> 'lines' -> 0 ->> 'quantity' AS quantity, locked_until FROM locked_prices"
        )
    assert row is not None
    assert (row["quote_id"], row["quantity"], row["locked_until"]) == (quote.quote_id, "3", quote.locked_until)


async def test_what_ran_out_is_free_for_others_and_still_usable_while_nobody_took_it(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("LAST", total_limit=1)
    slow, quick = new_id(), new_id()
    await counter.lock(lock(("cup", 1), holder=slow, coupons=["LAST"]))
    await counter.run_out(slow)
    await counter.service.checkouts.sweep()
    assert await counter.counts(coupon) == (0, 0)
    assert (await counter.redeem(slow)).outcome == "DONE", "nobody else has taken it"
    assert await counter.counts(coupon) == (1, 0)
    assert (await counter.release(slow)).outcome == "DONE"
    await counter.lock(lock(("cup", 1), holder=slow, coupons=["LAST"]))
    await counter.run_out(slow)
    taken = await counter.lock(lock(("cup", 1), holder=quick, coupons=["LAST"]))
    assert taken.discount, "a lock expires overdue holds of its coupons by itself"
    assert (await counter.redeem(slow)).outcome == "NOT_HELD"
    assert (await counter.redeem(quick)).outcome == "DONE"
    assert await counter.counts(coupon) == (1, 0)
    assert await counter.violations() == []


async def test_whoever_looks_for_coupons_that_ran_out_reads_no_hold_that_goes_on(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("MANY")
    await asyncio.gather(*(counter.lock(lock(("cup", 1), coupons=["many"])) for _ in range(500)))
    async with counter.database.connection() as opened:
        await opened.execute("ANALYZE coupon_holds")
        assert await repository_coupons.lock_overdue(opened, 100) == {}
        assert await repository_coupons.expire(opened, [coupon]) == {}
        await opened.execute("SELECT pg_stat_force_next_flush()")
        [read] = await opened.fetch(_READ)
    assert (read["idx_scan"] > 1, read["idx_tup_read"]) == (True, 0)


async def test_rule_15_pinned_coupons_outlive_every_sweep(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("PIN", total_limit=1)
    holder = new_id()
    quote = await counter.lock(lock(("cup", 1), holder=holder, coupons=["PIN"]))
    assert quote.locked_until is not None
    asked = Extend(step_id=new_id(), holder_id=holder, until=quote.locked_until, pinned=True)
    assert b"DONE" in await counter.service.checkouts.extend(json.encode(asked))
    await counter.run_out(holder)
    await counter.service.checkouts.sweep()
    assert await counter.counts(coupon) == (0, 1)
    assert not (await counter.lock(lock(("cup", 1), coupons=["PIN"]))).discount


async def test_a_release_frees_coupons_once_and_nothing_can_be_used_after_it(counter: Counter) -> None:
    await counter.sell("cup")
    coupon = await counter.coupon("BACK", total_limit=1)
    holder = new_id()
    assert (await counter.release(holder)).outcome == "NOT_HELD"
    await counter.lock(lock(("cup", 1), holder=holder, coupons=["BACK"]))
    outcomes = [(await counter.release(holder)).outcome, (await counter.release(holder)).outcome]
    outcomes.append((await counter.redeem(holder)).outcome)
    assert outcomes == ["DONE", "NOT_HELD", "NOT_HELD"]
    assert await counter.counts(coupon) == (0, 0)


async def test_an_unknown_sku_locks_nothing(counter: Counter) -> None:
    coupon = await counter.coupon("NONE")
    quote = await counter.lock(lock(("ghost", 1), coupons=["NONE"]))
    assert ([one.code for one in quote.refused], quote.locked_until) == (["unknown_sku"], None)
    assert await counter.counts(coupon) == (0, 0)


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE coupons SET held = 3",
        "UPDATE coupons SET used = -1",
        "UPDATE coupons SET percent = 101",
        "UPDATE coupons SET amount = 1",
        "UPDATE coupons SET total_limit = 0, held = 1",
    ],
)
async def test_the_database_itself_refuses_nonsense(counter: Counter, sql: str) -> None:
    await counter.coupon("CHECK", total_limit=2)
    with pytest.raises(asyncpg.CheckViolationError):
        await counter.execute(sql)


async def test_verify_finds_counters_that_are_not_what_holds_say(counter: Counter) -> None:
    await counter.sell("cup")
    await counter.coupon("BOOKS", total_limit=5)
    await counter.lock(lock(("cup", 1), coupons=["BOOKS"]))
    await counter.execute("UPDATE coupons SET used = 1")
    assert await counter.violations() == ["pricing.coupon_counts_are_holds: 1 used and 1 held, its holds say 0 and 1"]


class CouponMachine(RuleBasedStateMachine):
    """Checkouts of three buyers around one coupon, beside a model of who holds what."""

    def __init__(self, run: Callable[[Coroutine[Any, Any, Any]], Any], counter: Counter) -> None:
        super().__init__()
        self._run = run
        self._counter = counter
        self._code = f"M-{secrets.token_hex(6).upper()}"
        self._holders: list[tuple[UUID, UUID]] = []
        self._states: dict[UUID, str] = {}
        self._promised: set[UUID] = set()
        self._overdue: set[UUID] = set()
        users = [new_id() for _ in range(3)]
        self._holders = [(new_id(), users[number % 3]) for number in range(6)]
        self._total, self._each = 2, 1
        self._coupon = run(counter.coupon(self._code, total_limit=self._total, per_user_limit=self._each))

    @rule(number=st.integers(0, 5), wanted=st.booleans())
    def lock(self, number: int, wanted: bool) -> None:
        holder, user = self._holders[number]
        quote = self._run(
            self._counter.lock(lock(("cup", 1), holder=holder, user_id=user, coupons=[self._code] if wanted else []))
        )
        self._promised.add(holder)
        if wanted or holder in self._states:
            self._expire(besides=holder)
        if not wanted:
            assert not quote.discount
            if self._states.get(holder) not in (None, "USED"):
                self._states[holder] = "RELEASED"
            return
        expected = self._counted(holder) or self._free(user)
        assert bool(quote.discount) == expected, quote.refused
        if expected and not self._counted(holder):
            self._states[holder] = "HELD"
        elif not expected and self._states.get(holder) == "EXPIRED":
            self._states[holder] = "RELEASED"
        if expected:
            self._overdue.discard(holder)

    @rule(number=st.integers(0, 5))
    def redeem(self, number: int) -> None:
        holder, user = self._holders[number]
        outcome = self._run(self._counter.redeem(holder)).outcome
        state = self._states.get(holder)
        if holder in self._promised and state is not None:
            self._expire(besides=holder)
        possible = holder in self._promised and (state != "EXPIRED" or self._free(user))
        assert outcome == ("DONE" if possible else "NOT_HELD")
        if possible and state in ("HELD", "EXPIRED"):
            self._states[holder] = "USED"

    @rule(number=st.integers(0, 5))
    def release(self, number: int) -> None:
        holder, _ = self._holders[number]
        outcome = self._run(self._counter.release(holder)).outcome
        assert outcome == ("DONE" if holder in self._promised else "NOT_HELD")
        if holder in self._promised and holder in self._states:
            self._expire(besides=holder)
            self._states[holder] = "RELEASED"
        self._promised.discard(holder)

    @rule(number=st.integers(0, 5))
    def run_out(self, number: int) -> None:
        holder, _ = self._holders[number]
        self._run(self._counter.run_out(holder))
        self._overdue.add(holder)

    @precondition(lambda self: self._overdue)
    @rule()
    def sweep(self) -> None:
        self._run(self._counter.service.checkouts.sweep())
        self._expire()

    @invariant()
    def counters_are_what_the_model_says_and_within_the_limit(self) -> None:
        states = list(self._states.values())
        used, held = self._run(self._counter.counts(self._coupon))
        assert (used, held) == (states.count("USED"), states.count("HELD"))
        assert used + held <= self._total

    def _counted(self, holder: UUID) -> bool:
        return self._states.get(holder) in ("HELD", "USED")

    def _free(self, user: UUID) -> bool:
        counted = [buyer for holder, buyer in self._holders if self._counted(holder)]
        return len(counted) < self._total and counted.count(user) < self._each

    def _expire(self, besides: UUID | None = None) -> None:
        for holder in self._overdue - {besides}:
            if self._states.get(holder) == "HELD":
                self._states[holder] = "EXPIRED"


def test_whatever_checkouts_do_a_coupon_is_never_used_too_often(servers: ServerUrls) -> None:
    """Hypothesis prints the steps that failed, and the seed with which they come again."""
    with asyncio.Runner() as runner:
        opened = opened_counter(servers, seed=secrets.token_hex(4))
        counter = runner.run(opened.__aenter__())
        try:
            runner.run(counter.sell("cup"))
            run_state_machine_as_test(
                partial(CouponMachine, runner.run, counter),  # type: ignore[arg-type]  # any callable that makes one will do
                settings=settings(
                    max_examples=10,
                    stateful_step_count=25,
                    deadline=None,
                    suppress_health_check=list(HealthCheck),
                    print_blob=True,
                ),
            )
            assert runner.run(counter.violations()) == []
        finally:
            runner.run(opened.__aexit__(None, None, None))
