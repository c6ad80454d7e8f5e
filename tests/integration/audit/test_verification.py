"""Balanced books are found balanced, and every way of unbalancing them is found and named."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import asyncpg
import msgspec
import pytest
from prometheus_client import REGISTRY

from careforall.audit.service import AuditService
from careforall.audit.verification import run
from careforall.audit.verification.books import Platform, Subscription
from careforall.audit.verification.explain import explain, told
from careforall.audit.verification.report import Report, text
from careforall.audit.verification.run import START, Mark
from careforall.contracts.donations import DonationCompleted, DonationCreated, DonationDisputed, DonationFailed, DonationRefunded
from careforall.contracts.payments import (
    PaymentAuthorized,
    PaymentCaptured,
    PaymentDisputed,
    PaymentFailed,
    PaymentIntentCreated,
    PaymentRefunded,
)
from careforall.kit import migrate
from careforall.kit.consumer import AnyEvent, Consumer, Decoder
from careforall.kit.db import Database, PoolSettings
from careforall.kit.envelope import Event, Message, seal
from careforall.kit.ids import new_id
from careforall_testing.databases import Databases

SERVICES = ("donations", "payments", "totals", "notifications", "audit")
STREAMS = {service: service.upper() for service in SERVICES}
SUBSCRIPTIONS = (
    Subscription(consumer="payments-donations", service="payments", stream="DONATIONS", filters=("donations.created",)),
    Subscription(
        consumer="donations-payments",
        service="donations",
        stream="PAYMENTS",
        filters=("payments.captured", "payments.failed", "payments.refunded", "payments.disputed"),
    ),
    Subscription(
        consumer="totals-donations",
        service="totals",
        stream="DONATIONS",
        filters=("donations.completed", "donations.refunded", "donations.disputed"),
    ),
    Subscription(consumer="notifications-donations", service="notifications", stream="DONATIONS", filters=("donations.>",)),
    *(Subscription(consumer=f"audit-{name}", service="audit", stream=name.upper(), filters=(f"{name}.>",)) for name in SERVICES),
)
CAMPAIGN = UUID("01960000-0000-7000-8000-000000000001")
NOW = datetime.now(UTC)


class World:
    """The books of five services, written as the services would write them."""

    def __init__(self, dsns: dict[str, str], connections: dict[str, asyncpg.Connection], audit: Database) -> None:
        self.platform = Platform(dsns=dsns, streams=STREAMS, subscriptions=SUBSCRIPTIONS)
        self._connections = connections
        self._audit_database = audit
        self._audit = AuditService(audit, secret_key="s" * 32)
        self._decoder = Decoder(Consumer(name="audit", stream="x", events=(AnyEvent,), handler=self._audit.append))
        self.sequence = 0
        self.gifts: dict[str, UUID] = {}
        self.intents: dict[str, UUID] = {}

    def know(self, origin: World) -> None:
        """Take over what the origin knows about its rows."""
        self.gifts, self.intents, self.sequence = dict(origin.gifts), dict(origin.intents), origin.sequence

    async def leave(self) -> None:
        """Close all connections, so that the databases can be cloned."""
        for connection in self._connections.values():
            await connection.close()
        await self._audit_database.close()

    async def verify(self, mark: Mark = START, **options: Any) -> tuple[Report, Mark]:
        return await run.verify(self.platform, mark=mark, look_again=0.05, **options)

    async def do(self, service: str, sql: str, *args: object) -> None:
        await self._connections[service].execute(sql, *args)

    async def tamper(self, service: str, sql: str) -> None:
        async with self._connections[service].transaction():
            await self.do(service, "SET LOCAL session_replication_role = replica")
            intents = {f"{name}_intent": one for name, one in self.intents.items()}
            await self.do(service, sql.format(**self.gifts, **intents, campaign=CAMPAIGN))

    async def publish(self, service: str, event: Event, aggregate: UUID, version: int) -> None:
        identifier = new_id()
        self.sequence += 1
        data = seal(
            event,
            subject=event.SUBJECT,
            event_id=identifier,
            aggregate_id=aggregate,
            aggregate_version=version,
            source=service,
            correlation_id="request-1",
        )
        await self.do(service, _OUTBOX, identifier, event.SUBJECT, aggregate, data, self.sequence)
        for one in SUBSCRIPTIONS:
            if one.stream == STREAMS[service] and one.hears(event.SUBJECT):
                await self.do(one.service, "INSERT INTO inbox (consumer, message_id) VALUES ($1, $2)", one.consumer, identifier)
        decoded = self._decoder.decode(data, deliveries=1)
        assert isinstance(decoded, Message)
        message: Message[Any] = decoded
        await self._audit_database.run(lambda connection: self._audit.append(connection, [message]))

    async def give(self, name: str, *, capture: bool, refund: Decimal | None = None) -> None:
        """A gift of 25 EUR that is paid or fails, and of which some may go back."""
        gift = self.gifts[name] = new_id()
        intent = self.intents[name] = new_id()
        facts, money = self._facts(name, gift, intent), self._money(gift, intent)
        await self._pledge(gift, intent, name, facts, money)
        if not capture:
            await self._fail(gift, intent, facts, money)
            return
        await self._capture(gift, intent, name, facts, money)
        if refund is not None:
            await self._refund(gift, intent, refund, facts, money)

    @staticmethod
    def _facts(name: str, gift: UUID, intent: UUID) -> dict[str, Any]:
        return {
            "donation_id": gift,
            "campaign_id": CAMPAIGN,
            "intent_id": intent,
            "amount": Decimal(25),
            "currency": "EUR",
            "donor_key": f"key-{name}",
            "donor_email": f"{name}@example.org",
        }

    @staticmethod
    def _money(gift: UUID, intent: UUID) -> dict[str, Any]:
        return {
            "intent_id": intent,
            "subject_type": "DONATION",
            "subject_id": gift,
            "amount": Decimal(25),
            "currency": "EUR",
            "gateway": "simulator",
        }

    async def book(self, intent: UUID, kind: str, cause: str, receives: str, gives: str, amount: Decimal) -> None:
        """Book an amount as the payments service would."""
        entry = new_id()
        await self.do("payments", _BOOK, entry, intent, kind, cause, CAMPAIGN, receives, gives, amount)

    async def dispute(self, name: str, amount: Decimal) -> None:
        """What is left of a gift is disputed."""
        gift, intent, dispute = self.gifts[name], self.intents[name], new_id()
        money = self._money(gift, intent)
        await self.do("payments", "UPDATE payment_intents SET disputed_amount = $2, version = 5 WHERE id = $1", intent, amount)
        await self.do("payments", _DISPUTE, dispute, intent, amount)
        await self.book(intent, "DISPUTE", str(dispute), "disputes", "gateway:simulator", amount)
        await self.publish("payments", PaymentDisputed(**money, disputed_amount=amount, disputed_at=NOW), intent, 5)
        await self.do(
            "donations",
            "UPDATE donations SET disputed_amount = $2, dispute_version = 5, version = 4 WHERE id = $1",
            gift,
            amount,
        )
        await self.do("donations", _DISPUTED_HISTORY, gift, amount)
        facts = self._facts(name, gift, intent) | {"refunded_amount": Decimal(5), "disputed_amount": amount}
        facts.pop("donor_email")
        await self.publish("donations", DonationDisputed(**facts, status="COMPLETED", disputed_at=NOW), gift, 4)
        await self.do(
            "totals", "UPDATE completed_donations SET disputed_amount = $2, version = 4 WHERE donation_id = $1", gift, amount
        )
        await self.do("totals", "UPDATE campaign_totals SET disputed_amount = disputed_amount + $1", amount)

    async def come_too_late(self, name: str, status: str) -> None:
        """Money comes for a gift that has failed, and its refund is PENDING or SUCCEEDED."""
        intent, refund = self.intents[name], new_id()
        await self.book(intent, "UNAPPLIED", "simulator:pi_9", "gateway:simulator", "unapplied", Decimal(25))
        await self.do("payments", _UNAPPLIED, refund, intent, status)
        if status == "SUCCEEDED":
            await self.book(intent, "UNAPPLIED_REFUND", str(refund), "unapplied", "gateway:simulator", Decimal(25))

    async def _pledge(self, gift: UUID, intent: UUID, name: str, facts: dict[str, Any], money: dict[str, Any]) -> None:
        await self.do("donations", _DONATION, gift, CAMPAIGN, intent, f"{name}@example.org", f"key-{name}", NOW)
        await self.do("donations", _HISTORY, gift, 1, None, "PENDING", Decimal(0))
        await self.publish("donations", DonationCreated(**facts, status="PENDING", created_at=NOW), gift, 1)
        await self.do("payments", _INTENT, intent, gift)
        await self.publish("payments", PaymentIntentCreated(**money, expires_at=NOW), intent, 1)

    async def _fail(self, gift: UUID, intent: UUID, facts: dict[str, Any], money: dict[str, Any]) -> None:
        await self.do("payments", "UPDATE payment_intents SET status = 'FAILED', version = 2 WHERE id = $1", intent)
        await self.do("payments", _TRANSITION, intent, "INITIATED", "FAILED", 2)
        await self.publish("payments", PaymentFailed(**money), intent, 2)
        await self.do("donations", "UPDATE donations SET status = 'FAILED', version = 2 WHERE id = $1", gift)
        await self.do("donations", _HISTORY, gift, 2, "PENDING", "FAILED", Decimal(0))
        await self.publish("donations", DonationFailed(**facts, status="FAILED"), gift, 2)

    async def _capture(self, gift: UUID, intent: UUID, name: str, facts: dict[str, Any], money: dict[str, Any]) -> None:
        await self.do(
            "payments", "UPDATE payment_intents SET status = 'CAPTURED', version = 3, captured_amount = 25 WHERE id = $1", intent
        )
        await self.do("payments", _TRANSITION, intent, "INITIATED", "AUTHORIZED", 2)
        await self.do("payments", _TRANSITION, intent, "AUTHORIZED", "CAPTURED", 3)
        await self.book(intent, "CAPTURE", "CAPTURED", "gateway:simulator", f"campaign:{CAMPAIGN}", Decimal(25))
        await self.publish("payments", PaymentAuthorized(**money), intent, 2)
        await self.publish("payments", PaymentCaptured(**money, captured_at=NOW), intent, 3)
        await self.do("donations", "UPDATE donations SET status = 'COMPLETED', version = 2 WHERE id = $1", gift)
        await self.do("donations", _HISTORY, gift, 2, "PENDING", "COMPLETED", Decimal(0))
        await self.publish("donations", DonationCompleted(**facts, status="COMPLETED", completed_at=NOW), gift, 2)
        await self.do("totals", _BASE, gift, CAMPAIGN, f"key-{name}", NOW)
        await self.do("totals", _COUNT, CAMPAIGN)
        await self.do("totals", "INSERT INTO campaign_donors VALUES ($1, $2, 1, 25)", CAMPAIGN, f"key-{name}")
        await self.do("notifications", _RECEIPT, new_id(), new_id(), f"donation_completed:{gift}", gift, f"{name}@example.org")

    async def _refund(self, gift: UUID, intent: UUID, back: Decimal, facts: dict[str, Any], money: dict[str, Any]) -> None:
        refund = new_id()
        await self.do("payments", "UPDATE payment_intents SET refunded_amount = $2, version = 4 WHERE id = $1", intent, back)
        await self.do("payments", _REFUND, refund, intent, back)
        await self.book(intent, "REFUND", str(refund), "refunds", "gateway:simulator", back)
        gone: dict[str, Any] = {
            "refund_id": refund,
            "refund_amount": back,
            "total_refunded": back,
            "fully": False,
            "refunded_at": NOW,
        }
        await self.publish("payments", PaymentRefunded(**money, **gone), intent, 4)
        await self.do("donations", "UPDATE donations SET refunded_amount = $2, version = 3 WHERE id = $1", gift, back)
        await self.do("donations", _HISTORY, gift, 3, "COMPLETED", "COMPLETED", back)
        changed = {**facts, "refunded_amount": back}
        await self.publish("donations", DonationRefunded(**changed, status="COMPLETED", refunded_at=NOW), gift, 3)
        await self.do(
            "totals", "UPDATE completed_donations SET refunded_amount = $2, version = 3 WHERE donation_id = $1", gift, back
        )
        await self.do("totals", "UPDATE campaign_totals SET refunded_amount = refunded_amount + $1", back)


@asynccontextmanager
async def cloned(databases: Databases, sources: Mapping[str, str]) -> AsyncIterator[World]:
    """The books on databases of their own, cloned from templates; a source that is a URL is used as it is."""
    async with AsyncExitStack() as stack:
        dsns: dict[str, str] = {}
        connections: dict[str, asyncpg.Connection] = {}
        for service, source in sources.items():
            dsns[service] = source if "://" in source else await stack.enter_async_context(databases.clone(source))
            if "://" not in source:
                connections[service] = await asyncpg.connect(dsns[service])
                stack.push_async_callback(connections[service].close)
        audit = Database(dsns["audit"], name="audit", settings=PoolSettings(max_size=1, acquire_timeout=5, connect_timeout=5))
        await audit.open()
        stack.push_async_callback(audit.close)
        yield World(dsns, connections, audit)


def copy_of(databases: Databases, origin: World, *services: str) -> AbstractAsyncContextManager[World]:
    """The origin's books, those of some services as copies to be changed."""
    dsns = origin.platform.dsns
    return cloned(databases, {name: urlsplit(dsn).path[1:] if name in services else dsn for name, dsn in dsns.items()})


@pytest.fixture(scope="module")
async def origin(databases: Databases) -> AsyncIterator[World]:
    """Balanced books: a gift that was paid, one of which some went back, one that was never paid."""
    empty = {service: await databases.template(service, _prepare(service)) for service in SERVICES}
    async with cloned(databases, empty) as made:
        await made.do("donations", _CAMPAIGN, CAMPAIGN)
        await made.give("paid", capture=True)
        await made.give("back", capture=True, refund=Decimal(5))
        await made.dispute("back", Decimal(20))
        await made.give("lost", capture=False)
        await made.come_too_late("lost", "SUCCEEDED")
        await made.give("late", capture=False)
        await made.come_too_late("late", "PENDING")
        await made.do("payments", _ROLLED_UP)
        for service, sql in _AGE.items():  # the cut-off lies a second back
            await made.do(service, sql)
        await made.leave()
        yield made


@pytest.fixture
async def world(databases: Databases, origin: World) -> AsyncIterator[World]:
    async with copy_of(databases, origin, *SERVICES) as copy:
        copy.know(origin)
        yield copy


def _prepare(service: str) -> Any:
    async def prepare(url: str) -> None:
        await migrate.migrate(url, migrate.load(f"careforall.{service}"))

    return prepare


def broken(report: Report) -> set[str]:
    return {finding.name for finding in report.findings if finding.violations}


async def test_balanced_books_balance_and_keep_their_hash(world: World) -> None:
    report, mark = await world.verify(settled=True)
    again, _ = await world.verify(mark)

    assert report.ok, text(report)
    assert (report.violations, report.under_way, report.full, again.full) == (0, 0, True, False)
    assert again.hash == report.hash
    assert report.facts["donations.gross.EUR"] == report.facts["totals.gross.EUR"] == "50.000"
    booked = {name: report.facts[f"ledger.{name}.EUR"] for name in ("campaign", "refunds", "disputes", "gateway", "unapplied")}
    assert booked == {
        "campaign": "-50.000",
        "refunds": "5.000",
        "disputes": "20.000",
        "gateway": "50.000",
        "unapplied": "-25.000",
    }
    assert report.facts["totals.net.EUR"] == "25.000", "the rest is what came too late"
    assert REGISTRY.get_sample_value("ledger_imbalance") == 0
    await world.give("more", capture=True)
    assert (await world.verify())[0].hash != report.hash


LAST_COMPLETED = "(SELECT max(id::text)::uuid FROM outbox WHERE event_type = 'donations.completed')"
FORGED = "'01960000-0000-7000-8000-00000000000f'"
FORGED_ENTRY = f"""
INSERT INTO ledger_entries (id, payment_id, kind, cause_key, livemode, occurred_at, campaign_id)
SELECT {FORGED}, id, 'DISPUTE', 'forged', false, now(), campaign_id FROM payment_intents WHERE id = '{{paid_intent}}'
"""
FORGED_LINES = f"""
INSERT INTO ledger_lines VALUES ({FORGED}, 'disputes', 25, 'EUR'), ({FORGED}, 'gateway:simulator', -25, 'EUR')
"""
FORGED_FEE = FORGED_ENTRY.replace("DISPUTE", "FEE")
FORGED_FEE_LINES = f"INSERT INTO ledger_lines VALUES ({FORGED}, 'fees', 26, 'EUR'), ({FORGED}, 'gateway:simulator', -26, 'EUR')"
FIRST_COMPLETED = "(SELECT min(message_id::text)::uuid FROM inbox WHERE consumer = 'totals-donations')"


@pytest.mark.parametrize(
    ("service", "sql", "names"),
    [
        (
            "donations",
            "DELETE FROM donation_history WHERE donation_id = '{back}' AND version = 2",
            {"donations.history_without_holes"},
        ),
        ("donations", "DELETE FROM donation_history WHERE donation_id = '{lost}'", {"donations.history_without_holes"}),
        (
            "donations",
            "UPDATE donation_history SET from_status = 'FAILED' WHERE donation_id = '{paid}' AND version = 2",
            {"donations.steps_are_legal"},
        ),
        (
            "donations",
            "UPDATE donations SET status = 'PENDING' WHERE id = '{paid}'",
            {"donations.history_leads_to_state", "money.captured_is_completed", "totals.base_has_nothing_else"},
        ),
        (
            "donations",
            "UPDATE donations SET amount = 26 WHERE id = '{paid}'",
            {"money.captured_is_completed", "totals.base_has_every_gift"},
        ),
        (
            "donations",
            "UPDATE donations SET status = 'COMPLETED' WHERE id = '{lost}'",
            {"donations.history_leads_to_state", "money.completed_is_captured", "notifications.receipt_for_each_gift"},
        ),
        (
            "donations",
            "DELETE FROM outbox WHERE aggregate_id = '{lost}' AND event_type = 'donations.failed'",
            {"donations.event_for_each_version", "messages.no_effect_without_cause"},
        ),
        (
            "donations",
            "UPDATE outbox SET aggregate_id = '{paid}' WHERE aggregate_id = '{lost}' AND event_type = 'donations.created'",
            {"donations.history_for_each_event", "donations.event_for_each_version"},
        ),
        (
            "donations",
            "ALTER TABLE donations DROP CONSTRAINT donations_intent; UPDATE donations SET intent_id = '{back_intent}'",
            {"donations.one_intent_each", "money.captured_is_completed"},
        ),
        (
            "payments",
            "DELETE FROM payment_transitions WHERE payment_id = '{paid_intent}' AND to_status = 'AUTHORIZED'",
            {"payments.transitions_connect"},
        ),
        (
            "payments",
            "UPDATE payment_intents SET status = 'AUTHORIZED' WHERE id = '{paid_intent}'",
            {"payments.transitions_lead_to_state"},
        ),
        (
            "payments",
            "DELETE FROM outbox WHERE event_type = 'payments.failed' AND aggregate_id = '{lost_intent}'",
            {"payments.one_event_for_each_step"},
        ),
        (
            "payments",
            """
            INSERT INTO outbox (id, event_type, aggregate_id, payload)
            SELECT gen_random_uuid(), event_type, aggregate_id, payload FROM outbox
            WHERE event_type = 'payments.captured' AND aggregate_id = '{paid_intent}'
            """,
            {"payments.one_event_for_each_step"},
        ),
        (
            "payments",
            "UPDATE payment_transitions SET event_id = gen_random_uuid() WHERE payment_id = '{paid_intent}' AND version = 3",
            {"payments.webhooks_behind_steps"},
        ),
        ("payments", "UPDATE refunds SET amount = 6 WHERE NOT unapplied", {"payments.refunds_within_captured"}),
        (
            "payments",
            "UPDATE disputes SET amount = 6",
            {"payments.disputes_add_up"},
        ),
        (
            "payments",
            "UPDATE payment_intents SET disputed_amount = 19 WHERE id = '{back_intent}'",
            {"payments.disputes_add_up", "ledger.clearing_is_what_payments_say", "money.captured_is_completed"},
        ),
        (
            "donations",
            "UPDATE donations SET disputed_amount = 19 WHERE id = '{back}'",
            {"donations.history_leads_to_state", "totals.base_has_every_gift", "ledger.every_gift_is_booked"},
        ),
        (
            "totals",
            "UPDATE completed_donations SET disputed_amount = 19 WHERE donation_id = '{back}'",
            {"totals.base_has_every_gift", "totals.counters_equal_base"},
        ),
        (
            "payments",
            "UPDATE ledger_lines SET amount = 26 WHERE account = 'gateway:simulator' AND amount = 25",
            {"ledger.entries_add_up", "ledger.clearing_is_what_payments_say", "ledger.sums_equal_lines"},
        ),
        (
            "payments",
            "DELETE FROM ledger_lines WHERE entry_id IN (SELECT id FROM ledger_entries WHERE kind = 'REFUND')",
            {"ledger.entries_add_up", "ledger.clearing_is_what_payments_say", "ledger.every_gift_is_booked"},
        ),
        (
            "payments",
            """
            DELETE FROM ledger_entries WHERE payment_id = '{paid_intent}';
            DELETE FROM ledger_lines WHERE NOT EXISTS (SELECT FROM ledger_entries WHERE id = entry_id)
            """,
            {"ledger.clearing_is_what_payments_say", "ledger.every_gift_is_booked", "ledger.sums_equal_lines"},
        ),
        (
            "payments",
            f"{FORGED_ENTRY}; {FORGED_LINES}",
            {"ledger.clearing_is_what_payments_say"},
        ),
        ("payments", f"{FORGED_FEE}; {FORGED_FEE_LINES}", {"ledger.fees_are_of_captures"}),
        (
            "payments",
            "UPDATE ledger_lines SET account = 'sales' WHERE account = 'campaign:{campaign}'",
            {"ledger.income_is_where_it_belongs", "ledger.every_gift_is_booked"},
        ),
        (
            "payments",
            "UPDATE ledger_entries SET campaign_id = gen_random_uuid() WHERE payment_id = '{paid_intent}'",
            {"ledger.income_is_where_it_belongs", "ledger.every_gift_is_booked", "ledger.sums_equal_lines"},
        ),
        ("payments", "UPDATE refunds SET status = 'SUCCEEDED' WHERE status = 'PENDING'", {"ledger.unapplied_goes_back"}),
        (
            "payments",
            "UPDATE payment_intents SET status = 'INITIATED' WHERE id = '{late_intent}'",
            {"ledger.unapplied_goes_back"},
        ),
        ("payments", "UPDATE ledger_balances SET amount = amount + 1", {"ledger.sums_equal_lines"}),
        ("payments", "DELETE FROM ledger_balances WHERE account = 'refunds'", {"ledger.sums_equal_lines"}),
        (
            "payments",
            "UPDATE payment_intents SET campaign_id = gen_random_uuid() WHERE id = '{paid_intent}'",
            {"money.captured_is_completed", "ledger.income_is_where_it_belongs"},
        ),
        (
            "payments",
            "UPDATE payment_intents SET captured_amount = 25 WHERE id = '{lost_intent}'",
            {"payments.captured_in_full_once", "money.captured_is_completed"},
        ),
        ("payments", "DELETE FROM payment_intents WHERE id = '{paid_intent}'", {"money.completed_is_captured"}),
        ("totals", "UPDATE campaign_totals SET total_donations = total_donations + 1", {"totals.counters_equal_base"}),
        ("totals", "UPDATE campaign_donors SET amount = 24 WHERE donor_key = 'key-paid'", {"totals.donors_equal_base"}),
        (
            "totals",
            "DELETE FROM completed_donations WHERE donation_id = '{paid}'",
            {"totals.base_has_every_gift", "totals.counters_equal_base", "totals.donors_equal_base"},
        ),
        (
            "totals",
            "UPDATE completed_donations SET refunded_amount = 0 WHERE donation_id = '{back}'",
            {"totals.base_has_every_gift"},
        ),
        ("notifications", "DELETE FROM notifications WHERE subject_id = '{paid}'", {"notifications.receipt_for_each_gift"}),
        (
            "audit",
            "DELETE FROM audit_events WHERE event_type = 'payments.captured'",
            {"audit.every_event_is_logged", "audit.chain_holds"},
        ),
        ("audit", "UPDATE audit_links SET previous = root WHERE number = 4", {"audit.chain_holds"}),
        (
            "audit",
            "UPDATE audit_events SET batch_id = gen_random_uuid() WHERE event_type = 'payments.failed'",
            {"audit.every_event_is_linked"},
        ),
        (
            "totals",
            f"DELETE FROM inbox WHERE message_id = {FIRST_COMPLETED} AND consumer = 'totals-donations'",
            {"messages.no_holes"},
        ),
    ],
)
async def test_every_way_of_unbalancing_the_books_is_found(
    databases: Databases, origin: World, service: str, sql: str, names: set[str]
) -> None:
    async with copy_of(databases, origin, service) as world:
        world.know(origin)
        await world.tamper(service, sql)
        report, mark = await world.verify()

    assert names <= broken(report), text(report)
    assert not report.ok
    assert mark == START
    assert REGISTRY.get_sample_value("ledger_imbalance") == sum(
        one.violations for one in report.findings if one.name.startswith("ledger.")
    )


async def test_a_chain_that_lost_its_end_is_found_by_whoever_saw_it(world: World) -> None:
    _, mark = await world.verify()
    await world.do("audit", "INSERT INTO verification_marks VALUES ('books', $1)", msgspec.json.encode(mark).decode())
    last = "(SELECT batch_id FROM audit_links ORDER BY number DESC LIMIT 1)"
    await world.tamper(
        "audit", f"DELETE FROM audit_events WHERE batch_id = {last}; DELETE FROM audit_links WHERE batch_id = {last}"
    )

    for begin in (START, mark):
        report, _ = await world.verify(begin)
        examples = next(one for one in report.findings if one.name == "audit.chain_holds").examples
        assert [(one.key, one.detail) for one in examples] == [
            (f"{mark.link}:missing_link", f"the chain ends at link {mark.link - 1}; it had link {mark.link} before")
        ]


async def test_what_is_under_way_holds_the_cut_off_back_and_is_no_violation(world: World) -> None:
    await world.tamper("totals", f"DELETE FROM inbox WHERE consumer = 'totals-donations' AND message_id <> {FIRST_COMPLETED}")
    await world.tamper("totals", "DELETE FROM completed_donations WHERE donation_id = '{back}'")
    await world.tamper(
        "totals",
        """
        UPDATE campaign_totals
        SET total_amount = 25, total_donations = 1, unique_donors = 1, refunded_amount = 0, disputed_amount = 0
        """,
    )
    await world.tamper("totals", "DELETE FROM campaign_donors WHERE donor_key = 'key-back'")
    await world.tamper("donations", "UPDATE donations SET updated_at = clock_timestamp()")
    report, _ = await world.verify(slack=3600 * 24)

    assert report.ok, text(report)
    assert report.under_way == 3
    assert broken((await world.verify(settled=True))[0]) == {"messages.nobody_stands_still"}
    assert broken((await world.verify(slack=1))[0]) == {"messages.nobody_stands_still"}


async def test_a_dead_letter_excuses_its_message_and_is_counted(world: World) -> None:
    await world.tamper(
        "totals",
        f"""
        INSERT INTO dead_letters (id, consumer, event_type, message_key, payload, reason, attempts)
        SELECT message_id, consumer, 'donations.completed', message_id::text, '', 'poison', 3 FROM inbox
        WHERE consumer = 'totals-donations' AND message_id = {FIRST_COMPLETED}
        """,
    )
    await world.tamper("totals", f"DELETE FROM inbox WHERE consumer = 'totals-donations' AND message_id = {FIRST_COMPLETED}")
    report, _ = await world.verify()

    assert "messages.no_holes" not in broken(report)
    assert report.facts["totals.dead_letters"] == "1"


async def test_a_story_is_told_from_each_of_its_ids(world: World) -> None:
    ids = [str(world.gifts["back"]), str(world.intents["back"])]
    stories = [await explain(world.platform, one) for one in ids]

    for story in stories:
        assert set(ids) <= set(story.ids)
        assert [entry.at for entry in story.entries] == sorted(entry.at for entry in story.entries)
        assert {entry.service for entry in story.entries} == set(SERVICES)
        assert "example.org" not in told(story)
    assert {entry.id for entry in stories[0].entries} == {entry.id for entry in stories[1].entries}
    assert msgspec.json.decode(msgspec.json.encode(stories[0]))["id"] == ids[0]
    everything = await explain(world.platform, "request-1")
    assert {str(one) for one in world.gifts.values()} <= set(everything.ids)
    assert (await explain(world.platform, str(new_id()))).entries == []
    await world.tamper("audit", "UPDATE audit_events SET correlation_id = ''")
    assert (await explain(world.platform, "")).entries == [], "no id is not the id of all that no request caused"


_OUTBOX = """
INSERT INTO outbox (id, event_type, aggregate_id, payload, status, created_at, published_at, stream_sequence)
VALUES ($1, $2, $3, $4, 'PROCESSED', clock_timestamp() - interval '1 hour', clock_timestamp() - interval '1 hour', $5)
"""
_CAMPAIGN = "INSERT INTO campaigns (id, title, goal, currency, status) VALUES ($1, 'Clean water', 100, 'EUR', 'LIVE')"
_DONATION = """
INSERT INTO donations (id, campaign_id, intent_id, donor_email, donor_key, amount, currency, gateway, created_at)
VALUES ($1, $2, $3, $4, $5, 25, 'EUR', 'simulator', $6)
"""
_HISTORY = """
INSERT INTO donation_history (donation_id, version, from_status, to_status, cause, refunded_amount)
VALUES ($1, $2, $3, $4, 'test', $5)
"""
_INTENT = """
INSERT INTO payment_intents (id, subject_type, subject_id, campaign_id, amount, currency, gateway, expires_at)
VALUES ($1, 'DONATION', $2, '01960000-0000-7000-8000-000000000001', 25, 'EUR', 'simulator', clock_timestamp())
"""
_TRANSITION = (
    "INSERT INTO payment_transitions (payment_id, from_status, to_status, version, cause) VALUES ($1, $2, $3, $4, 'test')"
)
_REFUND = """
INSERT INTO refunds (id, intent_id, gateway, gateway_refund_id, amount, status)
VALUES ($1, $2, 'simulator', 're_1', $3, 'SUCCEEDED')
"""
_DISPUTE = """
INSERT INTO disputes (id, intent_id, gateway, gateway_dispute_id, amount, status, opened_at)
VALUES ($1, $2, 'simulator', 'dp_1', $3, 'OPEN', clock_timestamp())
"""
_UNAPPLIED = """
INSERT INTO refunds (id, intent_id, gateway, amount, status, unapplied, gateway_object)
VALUES ($1, $2, 'simulator', 25, $3, true, 'pi_9')
"""
_BOOK = """
WITH entry AS (
    INSERT INTO ledger_entries (id, payment_id, kind, cause_key, campaign_id, livemode, occurred_at, booked_at)
    VALUES ($1, $2, $3, $4, $5, false, clock_timestamp(), clock_timestamp() - interval '1 hour')
)
INSERT INTO ledger_lines VALUES ($1, $6, $8, 'EUR'), ($1, $7, -$8::numeric, 'EUR')
"""
_ROLLED_UP = """
WITH moved AS (UPDATE ledger_rollup SET reached = clock_timestamp() - interval '1 minute')
INSERT INTO ledger_balances
SELECT account, currency, campaign_id, livemode, (booked_at AT TIME ZONE 'UTC')::date, sum(amount)
FROM ledger_entries JOIN ledger_lines ON entry_id = id
GROUP BY 1, 2, 3, 4, 5
"""
_DISPUTED_HISTORY = """
INSERT INTO donation_history (donation_id, version, from_status, to_status, cause, refunded_amount, disputed_amount)
VALUES ($1, 4, 'COMPLETED', 'COMPLETED', 'test', 5, $2)
"""
_BASE = """
INSERT INTO completed_donations
    (donation_id, campaign_id, donor_key, currency, amount, refunded_amount, anonymous, version, completed_at, updated_at)
VALUES ($1, $2, $3, 'EUR', 25, 0, false, 2, $4, $4)
"""
_COUNT = """
INSERT INTO campaign_totals
    (campaign_id, currency, total_amount, refunded_amount, total_donations, unique_donors, last_updated, revision)
VALUES ($1, 'EUR', 25, 0, 1, 1, clock_timestamp(), 1)
ON CONFLICT (campaign_id) DO UPDATE SET total_amount = campaign_totals.total_amount + 25,
    total_donations = campaign_totals.total_donations + 1, unique_donors = campaign_totals.unique_donors + 1
"""
_RECEIPT = """
INSERT INTO notifications (id, cause_event_id, fact, subject_id, template, channel, recipient, language, payload, status)
VALUES ($1, $2, $3, $4, 'donation_completed', 'EMAIL', $5, 'en', '{}', 'SENT')
"""
_AGE = {
    "donations": "UPDATE donations SET updated_at = clock_timestamp() - interval '1 hour'",
    "payments": "UPDATE payment_intents SET updated_at = clock_timestamp() - interval '1 hour'",
    "totals": "UPDATE completed_donations SET updated_at = clock_timestamp() - interval '1 hour'",
}
