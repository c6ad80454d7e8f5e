"""Use cases of payments: making intents, showing them, ending those whose time is over. One public method, one transaction.

What calls gateways lives beside it: `paying` and `refunding`; what gateways tell comes through `webhooks`.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec

from careforall.contracts.donations import DonationCreated
from careforall.contracts.orders import PAYABLE, OrderCreated, Payable, PayableAsked
from careforall.kit import context, money, secrets
from careforall.kit.db import Connection, Database
from careforall.kit.envelope import Message
from careforall.kit.errors import InvalidInput
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing
from careforall.kit.service import Ask
from careforall.kit.text import refuse_texts, text_error
from careforall.payments import events, repository, repository_disputes, repository_refunds
from careforall.payments.alarms import Alarms
from careforall.payments.bookkeeping import Bookkeeping
from careforall.payments.completing import Completing
from careforall.payments.domain import Intent, StateFact
from careforall.payments.errors import OrderNotFound, OrderNotPayable, PaymentNotFound, SubjectMismatch
from careforall.payments.intake import Intake
from careforall.payments.misfits import Misfits
from careforall.payments.paying import Paying
from careforall.payments.reconciling import Reconciling
from careforall.payments.recording import record
from careforall.payments.records import Changes, NewIntent
from careforall.payments.refunding import Refunding
from careforall.payments.schemas import IntentOrder, IntentWish, Payment
from careforall.payments.settings import PaymentsSettings
from careforall.payments.steps import Steps
from careforall.payments.webhooks import Webhooks

_EXPIRE_AT_ONCE = 200


class PaymentsService:
    """The use cases, with those that talk to gateways at hand."""

    def __init__(
        self,
        database: Database,
        settings: PaymentsSettings,
        *,
        intake: Intake,
        webhooks: Webhooks,
        paying: Paying,
        refunding: Refunding,
        reconciling: Reconciling,
        misfits: Misfits,
        completing: Completing,
        bookkeeping: Bookkeeping,
        alarms: Alarms,
        ask: Ask,
        live: frozenset[str] = frozenset(),
    ) -> None:
        self.database = database
        self.webhooks = webhooks
        self.paying = paying
        self.refunding = refunding
        self.reconciling = reconciling
        self.misfits = misfits
        self.completing = completing
        self.bookkeeping = bookkeeping
        self.alarms = alarms
        self._intake = intake
        self._settings = settings
        self._live = live
        self._ask = ask
        self.steps = Steps(
            database,
            paying,
            refunding,
            self.create,
            max_batch=settings.webhook_batch,
            flights=settings.webhook_flights,
        )
        self._receipt_key = secrets.derive(settings.secret_key, "receipt token")

    async def create_from_donations(self, connection: Connection, messages: Sequence[Message[DonationCreated]]) -> None:
        """Make the intents whose ids the donations service has given out (rule 11)."""
        await self._create(connection, [_of_donation(message) for message in messages])

    async def create_from_orders(self, connection: Connection, messages: Sequence[Message[OrderCreated]]) -> None:
        """Make the intents whose ids the orders service has given out, with the time their orders wait."""
        await self._create(connection, [_of_order(message) for message in messages])

    async def create(self, connection: Connection, wanted: Sequence[NewIntent]) -> list[Intent]:
        """Make intents in the caller's transaction and return those that were new; those that are there stay as they are.

        One whose subject has another open intent is not made.
        """
        wanted = [msgspec.structs.replace(intent, livemode=intent.gateway in self._live) for intent in wanted]
        await repository.announce(connection, [intent.id for intent in wanted])
        new = await repository.insert_intents(connection, wanted, self._settings.intent_hours * 3600)
        changes = Changes()
        changes.outbox += [events.created(intent) for intent in new]
        await repository.write(connection, changes)
        await self._intake.apply_early(connection, new)
        return new

    async def initiate(self, order_id: UUID, payer: Principal) -> Intent:
        """Return the intent of an order to be paid, making it where its event has not come yet.

        Raises:
            OrderNotFound: Also where it is somebody else's.
            OrderNotPayable: It is paid, ended, or its stock is not reserved yet.
        """
        async with self.database.connection() as connection:
            found = await repository.open_intent_of(connection, "ORDER", order_id)
        if found is not None and found.user_id == payer.user_id and found.status == "INITIATED":
            return found
        asked = PayableAsked(order_id=order_id, user_id=payer.user_id)
        told = msgspec.json.decode(await self._ask(PAYABLE, msgspec.json.encode(asked)), type=Payable)
        if told.status is None or told.intent_id is None:
            raise OrderNotFound
        if told.status != "PENDING" or told.expires_at is None:
            raise OrderNotPayable(f"This order is {told.status}.", status_of_order=told.status)
        new, intent_id = _payable(order_id, payer, told), told.intent_id

        async def work(connection: Connection) -> Intent:
            if await repository.intent(connection, intent_id) is None:
                await self._create(connection, [new])
            made = await repository.intent(connection, intent_id)
            assert made is not None
            return made

        made = await self.database.run(work)
        if made.status != "INITIATED":
            raise OrderNotPayable(f"Its payment is {made.status}.", status_of_payment=made.status)
        return made

    async def create_intent(self, order: IntentOrder) -> Intent:
        """Make an intent for a subject, or return the one that is open or paid.

        Raises:
            SubjectMismatch: That one asks for another amount.
        """
        wanted = self._checked(order)

        async def work(connection: Connection) -> Intent:
            found = await repository.open_intent_of(connection, order.subject_type, order.subject_id)
            if found is None:
                await self._create(connection, [wanted])
                found = await repository.intent(connection, wanted.id)
            assert found is not None
            return _of_amount(found, wanted.amount, wanted.currency)

        return await self.database.run(work)

    async def own_intent(self, wish: IntentWish, payer: Principal) -> Intent:
        """Return the intent of a gift or order of the payer's own that is open, or the paid one of a gift.

        Raises:
            PaymentNotFound: The gift has none, or is somebody else's; `OrderNotFound` and `OrderNotPayable` likewise of orders.
            SubjectMismatch: It asks for another amount.
        """
        amount = _amount_in(wish)
        if wish.subject_type == "ORDER":
            return _of_amount(await self.initiate(wish.subject_id, payer), amount, wish.currency)
        async with self.database.connection() as connection:
            found = await repository.open_intent_of(connection, wish.subject_type, wish.subject_id)
        if found is None or found.user_id != payer.user_id:
            raise PaymentNotFound
        return _of_amount(found, amount, wish.currency)

    async def payment(self, identifier: UUID, viewer: Principal | None, receipt_token: str | None) -> Payment:
        """Return a payment with its history to its payer, to staff, or to the holder of the gift's receipt token.

        Raises:
            PaymentNotFound: Also where it is somebody else's.
        """
        async with self.database.snapshot() as connection:
            intent = await repository.intent(connection, identifier)
            if intent is None or not self._may_see(intent, viewer, receipt_token):
                raise PaymentNotFound
            return Payment(
                intent=intent,
                attempts=await repository.attempts(connection, identifier),
                refunds=await repository_refunds.refunds(connection, identifier),
                disputes=await repository_disputes.disputes_of(connection, [identifier]),
                transitions=await repository.transitions(connection, identifier),
            )

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present state of intents as events, for whoever lost theirs."""
        return [events.snapshot(intent) for intent in await repository.intents_after(connection, after, limit)]

    async def expire_intents(self) -> int:
        """Fail unpaid intents past their time that have no open attempt; return how many."""
        return await self.database.run(self._expire)

    async def _expire(self, connection: Connection) -> int:
        found = await repository.expired_intents(connection, _EXPIRE_AT_ONCE)
        last = await repository.last_attempts(connection, [intent.id for intent in found])
        payable = [attempt for attempt in last.values() if attempt.payable_object]
        # What is payable still is asked about at once, and ended at its gateway.
        await repository.insert_attempts(connection, [(attempt.again(), 0.0) for attempt in payable])
        unpayable = [intent for intent in found if intent.id not in {attempt.intent_id for attempt in payable}]
        for intent in unpayable:
            fact = StateFact(target="FAILED", reason="expired")
            await record(connection, intent, fact, via="", cause="expired", max_attempts=self._settings.max_attempts)
        return len(unpayable)

    async def _create(self, connection: Connection, wanted: Sequence[NewIntent]) -> None:
        """Make intents; refuse a second one for a subject that has an open one."""
        new = await self.create(connection, wanted)
        if len(new) < len(wanted):
            await _refuse_second_intents(connection, wanted, {intent.id for intent in new})

    def _checked(self, order: IntentOrder) -> NewIntent:
        refuse_texts(text_error("/title", order.title, limit=200))
        cause = context.current()
        return NewIntent(
            id=new_id(),
            subject_type=order.subject_type,
            subject_id=order.subject_id,
            title=order.title,
            campaign_id=None,
            user_id=order.user_id,
            amount=_amount_in(order),
            currency=order.currency,
            gateway=order.gateway or self._settings.default_gateway,
            method=order.method,
            correlation_id=cause.correlation_id,
            traceparent=cause.traceparent,
        )

    def _may_see(self, intent: Intent, viewer: Principal | None, receipt_token: str | None) -> bool:
        if viewer is not None and (viewer.is_admin or viewer.user_id == intent.user_id):
            return True
        token = secrets.sign(self._receipt_key, intent.subject_id.bytes)
        return receipt_token is not None and intent.subject_type == "DONATION" and secrets.same(receipt_token, token)


def _amount_in(wish: IntentWish) -> Decimal:
    try:
        return money.parse_amount(wish.amount, wish.currency)
    except money.MoneyError as error:
        pointer = "/currency" if error.code == "unknown_currency" else "/amount"
        raise InvalidInput.field(pointer, error.code, str(error)) from error


def _of_amount(intent: Intent, amount: Decimal, currency: str) -> Intent:
    """Return an intent that asks for just this amount; that of its subject never changes."""
    if (intent.amount, intent.currency) != (amount, currency):
        raise SubjectMismatch(payment_id=str(intent.id))
    return intent


async def _refuse_second_intents(connection: Connection, wanted: Sequence[NewIntent], new: set[UUID]) -> None:
    """A repeat of an intent is fine; a second one for a subject that has an open one is not."""
    rest = [intent.id for intent in wanted if intent.id not in new]
    missing = set(rest) - await repository.existing_intents(connection, rest)
    if missing:
        raise SubjectMismatch("This subject has an open intent already.", payment_id=str(min(missing)))


def _of_order(message: Message[Any]) -> NewIntent:
    event: OrderCreated = message.event
    return NewIntent(
        id=event.intent_id,
        subject_type="ORDER",
        subject_id=event.order_id,
        campaign_id=None,
        title=f"Order {event.order_number}",
        user_id=event.user_id,
        amount=event.total,
        currency=event.currency,
        gateway=event.gateway,
        method=None,
        correlation_id=message.correlation_id,
        traceparent=message.traceparent,
        expires_at=event.expires_at,
    )


def _payable(order_id: UUID, payer: Principal, told: Payable) -> NewIntent:
    assert told.intent_id is not None
    cause = context.current()
    return NewIntent(
        id=told.intent_id,
        subject_type="ORDER",
        subject_id=order_id,
        campaign_id=None,
        title=f"Order {told.order_number}",
        user_id=payer.user_id,
        amount=told.amount,
        currency=told.currency,
        gateway=told.gateway,
        method=None,
        correlation_id=cause.correlation_id,
        traceparent=cause.traceparent,
        expires_at=told.expires_at,
    )


def _of_donation(message: Message[Any]) -> NewIntent:
    event: DonationCreated = message.event
    return NewIntent(
        id=event.intent_id,
        subject_type="DONATION",
        subject_id=event.donation_id,
        campaign_id=event.campaign_id,
        title=event.campaign_title,
        user_id=event.user_id,
        amount=event.amount,
        currency=event.currency,
        gateway=event.gateway,
        method=None,
        correlation_id=message.correlation_id,
        traceparent=message.traceparent,
    )
