"""Any history of one payment, on real PostgreSQL, beside the company's own rules: legal at each step, equal in the end."""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager, suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from careforall.kit import json
from careforall.kit.errors import Problem
from careforall.kit.idempotency import Call, fingerprint
from careforall.kit.ids import new_id
from careforall.payments.app import companies
from careforall.payments.asking import Asking
from careforall.payments.domain import STEPS
from careforall.payments.gateways.registry import Gateways, Limits
from careforall.payments.schemas import IntentOrder, RefundOrder
from careforall.simulator import domain, objects
from careforall_testing.company import listening_company
from careforall_testing.model_company import BASE, Books, Deed
from careforall_testing.servers import ServerUrls
from careforall_testing.sizes import FULL, sizes

T = TypeVar("T")
SIZES = sizes()
AMOUNT, CENTS = Decimal("25.00"), 100
MOST_FAULTS = 2
LIMITS = Limits(tries=1, seconds=5.0, at_once=4)
STEPS_EACH = 25 if SIZES == FULL else 10
MOST_DECLINES = 2
"""Few, so that payments that failed while they could still be paid at the company are not rare."""
DUE = """
UPDATE payment_attempts SET ask_at = clock_timestamp() WHERE status IN ('INITIATED', 'OPEN', 'UNKNOWN');
UPDATE refunds SET lease_until = clock_timestamp(), retry_at = clock_timestamp() WHERE status = 'PENDING';
UPDATE reconciliation_looks SET ask_at = clock_timestamp()
"""
ACCOUNTS = """
SELECT CASE WHEN account LIKE 'gateway:%' THEN 'clearing' WHEN account LIKE 'campaign:%' THEN 'income'
            WHEN account IN ('donations', 'sales') THEN 'income' ELSE account END AS account,
       sum(amount) AS amount
FROM ledger_lines
GROUP BY 1
"""
REFUNDED = """
SELECT coalesce(sum(amount) FILTER (WHERE NOT unapplied), 0) AS applied,
       coalesce(sum(amount) FILTER (WHERE unapplied), 0) AS unapplied
FROM refunds
WHERE status = 'SUCCEEDED' AND NOT parked
"""

pytestmark = pytest.mark.timeout(120 + 2 * SIZES.histories)


class Ground:
    """An event loop in a thread of its own, in which the services of all histories live."""

    def __init__(self, arena: Any, servers: ServerUrls) -> None:
        self.arena = arena
        self.servers = servers
        self.loop = asyncio.new_event_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Wait for work in the loop."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)


@contextmanager
def grounded(arena: Any, servers: ServerUrls) -> Iterator[Ground]:
    """Keep the loop running while the context is open."""
    ground = Ground(arena, servers)
    thread = threading.Thread(target=ground.loop.run_forever)
    thread.start()
    try:
        yield ground
    finally:
        ground.loop.call_soon_threadsafe(ground.loop.stop)
        thread.join()
        ground.loop.close()


class Histories(RuleBasedStateMachine):
    """One payment of ours, its company, and everything that may happen to either."""

    ground: Ground

    way: tuple[str, ...] = ()
    """What has happened to the payment before anything random does."""

    @initialize(subject=st.sampled_from(["DONATION", "ORDER"]))
    def begin(self, subject: Any) -> None:
        """Begin where the way leads."""
        self.books = Books()
        self.stack = AsyncExitStack()
        self.intent = self._run(self._begin(subject))
        for step in self.way:
            STEPS_OF_WAYS[step](self)
            self._run(self._check())

    @rule()
    def the_payer_opens_the_page(self) -> None:
        self._run(self.till.service.paying.pay(self.intent))

    @rule(button=st.sampled_from(["pay", "pay", "decline", "cancel"]))
    def the_payer_presses(self, button: str) -> None:
        deeds: dict[str, Deed] = {
            "pay": lambda intent, _: domain.pay(intent, f"ch_{new_id().hex}"),
            "decline": lambda intent, _: domain.decline(intent, f"ch_{new_id().hex}"),
            "cancel": lambda intent, _: domain.cancel(intent, "abandoned"),
        }
        self._at_the_company(deeds[button])

    @rule()
    def the_company_fails_after_its_next_work(self) -> None:
        self.books.faults = min(1, MOST_FAULTS - self.faulty)
        self.faulty += self.books.faults

    @precondition(lambda self: bool(self.books.events))
    @rule(which=st.integers(min_value=0, max_value=100), copies=st.integers(min_value=1, max_value=2))
    def an_event_arrives(self, which: int, copies: int) -> None:
        for _ in range(copies):
            self._deliver(self.books.events[which % len(self.books.events)])

    @precondition(lambda self: bool(self.books.events))
    @rule()
    def all_events_arrive(self) -> None:
        for body in self.books.events:
            self._deliver(body)

    @rule()
    def the_checkout_captures(self) -> None:
        self._try(self.till.service.paying.capture(self.intent))

    @rule()
    def the_checkout_releases(self) -> None:
        self._try(self.till.service.paying.void(self.intent))

    @rule(cents=st.integers(min_value=1, max_value=3000))
    def staff_refunds(self, cents: int) -> None:
        order = RefundOrder(reason="asked for", amount=Decimal(cents) / CENTS)
        call = Call(scope="refund|staff", key=str(new_id()), fingerprint=fingerprint(str(self.intent), json.encode(order)))
        self._try(self.till.service.refunding.refund(self.intent, order, call=call, by="staff"))

    @rule(cents=st.integers(min_value=1, max_value=2500))
    def the_company_refunds(self, cents: int) -> None:
        for found in self.books.of(str(self.intent)):
            with suppress(Problem):
                self.books.refund(found.id, cents, {})

    @precondition(lambda self: self._is_paid())
    @rule()
    def the_company_tells_of_a_refund_too_large(self) -> None:
        """What no rule of the company allows: kept for a person, and nothing else."""
        for found in self.books.of(str(self.intent)):
            refund = self.books.too_large_a_refund(found)
            body = objects.event_body(f"evt_{new_id().hex}", "refund.created", refund, base=BASE, now=datetime.now(UTC))
            self._deliver(body)

    @precondition(lambda self: self._is_paid() and not self.books.disputes)
    @rule()
    def the_bank_disputes(self) -> None:
        self._at_the_company(
            lambda intent, _: domain.open_dispute(intent, dispute_id=f"dp_{new_id().hex}", now=datetime.now(UTC))
        )

    @precondition(lambda self: any(dispute.status == "needs_response" for dispute in self.books.disputes.values()))
    @rule(outcome=st.sampled_from(["won", "lost"]))
    def the_bank_decides(self, outcome: Any) -> None:
        self._at_the_company(lambda intent, dispute: domain.close_dispute(intent, dispute, outcome))

    @rule()
    def time_runs_out(self) -> None:
        self._run(self._execute("UPDATE payment_intents SET expires_at = clock_timestamp()"))
        self._run(self.till.service.expire_intents())

    @rule()
    def we_ask(self) -> None:
        self._run(self._settle())

    @invariant()
    def all_is_legal(self) -> None:
        if hasattr(self, "till"):
            self._run(self._check())

    def teardown(self) -> None:
        if not hasattr(self, "till"):
            return
        try:
            self._run(self._end())
        finally:
            self._run(self.stack.aclose())

    async def _begin(self, subject: Any) -> UUID:
        self.faulty = 0
        url = await self.stack.enter_async_context(listening_company(self.books.reply))
        self.till = await self.stack.enter_async_context(
            self.ground.arena.open(
                self.ground.servers,
                simulator_url=url,
                gateway_seconds=5.0,
                max_attempts=MOST_DECLINES,
                reconcile_days=0.1,
            )
        )
        gateways = Gateways(
            {"simulator": companies(self.till.resources.settings)["simulator"].gateway}, self.till.resources.tracing, LIMITS
        )
        self.stack.push_async_callback(gateways.close)
        self.asking = Asking(self.till.database, gateways, max_attempts=MOST_DECLINES)
        order = IntentOrder(subject_type=subject, subject_id=new_id(), amount=AMOUNT, currency="EUR")
        made: UUID = (await self.till.service.create_intent(order)).id
        return made

    async def _tell(self, body: bytes) -> Any:
        return await self.till.tell_simulator_bytes(body)

    async def _execute(self, sql: str) -> None:
        async with self.till.database.connection() as connection:
            await connection.execute(sql)

    async def _settle(self) -> None:
        """Everything that asks by itself, as if its time had come."""
        await self._execute(DUE)
        await self.till.service.paying.settle_attempts()
        await self.till.service.refunding.settle_refunds()
        await self.till.service.misfits.look()

    async def _compare(self) -> None:
        """Learn how every object at the company stands, as the comparison does about what differs."""
        for found in self.books.of(str(self.intent)):
            await self.asking.learn(self.intent, "simulator", found.id)

    async def _check(self) -> None:
        row = await self.till.row(self.intent)
        steps = await self.till.steps(self.intent)
        assert all(after in STEPS[before] for before, after in steps), steps
        assert row["status"] == (steps[-1][1] if steps else "INITIATED")
        assert 0 <= row["refunded_amount"] <= row["captured_amount"] <= AMOUNT
        await self._check_ledger(row)
        assert sum(found.status == "succeeded" for found in self.books.of(str(self.intent))) <= 1

    async def _check_ledger(self, row: Any) -> None:
        """Every account holds what payment and refunds say, and all of them nothing together."""
        accounts = await self._accounts()
        refunded = await self.till.database.fetchrow(REFUNDED)
        assert sum(accounts.values()) == 0, accounts
        assert refunded["applied"] == row["refunded_amount"], (dict(refunded), dict(row))
        unapplied = accounts.get("unapplied", Decimal(0))
        net = row["captured_amount"] - row["refunded_amount"] - row["disputed_amount"]
        wanted = {
            "income": -row["captured_amount"],
            "refunds": row["refunded_amount"],
            "disputes": row["disputed_amount"],
            "clearing": net - unapplied,
        }
        assert {name: accounts.get(name, Decimal(0)) for name in wanted} == wanted, (accounts, dict(row))

    async def _accounts(self) -> dict[str, Decimal]:
        """What each kind of account received less what it gave."""
        async with self.till.database.connection() as connection:
            return {row["account"]: row["amount"] for row in await connection.fetch(ACCOUNTS)}

    async def _end(self) -> None:
        """Whatever was lost, doubled or out of order: after the events and a question we are where the company is."""
        self.books.faults = 0
        events = [*self.books.events]
        random.Random(len(events)).shuffle(events)
        for body in events:
            answer = await self._tell(body)
            assert answer.status_code == 200, answer.text
        for _ in range(3):
            await self._settle()
            await self._compare()
        await self._check()
        await self._equal()

    async def _equal(self) -> None:
        row = await self.till.row(self.intent)
        theirs = self.books.of(str(self.intent))
        ours = (row["captured_amount"] * CENTS, row["refunded_amount"] * CENTS, row["disputed_amount"] * CENTS)
        received, refunded = sum(one.amount_received for one in theirs), sum(one.amount_refunded for one in theirs)
        disputed = sum(one.amount for one in self.books.disputes.values() if one.status != "won")
        if row["status"] == "FAILED":  # what came too late is held apart and goes back
            apart = -(await self._accounts()).get("unapplied", Decimal(0))
            assert [*ours, apart * CENTS] == [0, 0, 0, received - refunded]
        else:
            assert ours == (received, refunded, disputed), (dict(row), theirs)

    def _is_paid(self) -> bool:
        return any(found.status == "succeeded" for found in self.books.of(str(self.intent)))

    def _deliver(self, body: bytes) -> None:
        answer = self._run(self._tell(body))
        assert answer.status_code == 200, answer.text

    def _at_the_company(self, deed: Deed) -> None:
        for found in self.books.of(str(self.intent)):
            with suppress(Problem):
                self.books.act(found.id, deed)

    def _try(self, work: Coroutine[Any, Any, Any]) -> None:
        """Do what may be refused; a refusal of ours is as good as an answer."""
        with suppress(Problem):
            self._run(work)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.ground.run(work)


STEPS_OF_WAYS: Mapping[str, Callable[[Histories], None]] = {
    "opened": lambda one: one.the_payer_opens_the_page(),
    "declined": lambda one: one.the_payer_presses("decline"),
    "paid": lambda one: one.the_payer_presses("pay"),
    "told": lambda one: one.all_events_arrive(),
    "captured": lambda one: one.the_checkout_captures(),
    "refunded": lambda one: one.staff_refunds(cents=700),
    "told too much": lambda one: one.the_company_tells_of_a_refund_too_large(),
    "disputed": lambda one: one.the_bank_disputes(),
    "won": lambda one: one.the_bank_decides("won"),
    "lost": lambda one: one.the_bank_decides("lost"),
}
CAPTURED = ("opened", "paid", "told", "captured", "told")
WAYS: Mapping[str, tuple[str, ...]] = {
    "new": (),
    "paid": ("opened", "paid"),
    "refunded in part": (*CAPTURED, "refunded", "told too much"),
    "disputed": (*CAPTURED, "disputed", "told"),
    "dispute won": (*CAPTURED, "disputed", "told", "won"),
    "dispute lost": (*CAPTURED, "disputed", "told", "lost"),
    "refunded and disputed": (*CAPTURED, "refunded", "told", "disputed", "told"),
    "paid after it failed": ("opened", "declined", "told", "declined", "told", "paid"),
}
"""Where histories begin, so that few of them reach what is rare; what was not told yet may come late, twice or out of order."""


@pytest.mark.parametrize("way", WAYS)
def test_any_history_of_a_payment_is_legal_and_ends_where_the_company_is(arena: Any, servers: ServerUrls, way: str) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - shown when the test fails
    with grounded(arena, servers) as ground:

        class Here(Histories):
            pass

        Here.ground, Here.way = ground, WAYS[way]
        sizes_of_run = settings(
            max_examples=max(2, SIZES.histories // len(WAYS)),
            stateful_step_count=STEPS_EACH,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate, *([Phase.shrink] if SIZES == FULL else [])],
            print_blob=True,
        )
        run_state_machine_as_test(seeded(seed)(Here), settings=sizes_of_run)
