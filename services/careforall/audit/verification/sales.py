"""Comparisons between payments and orders: what was paid for is confirmed, and what is confirmed was paid, of equal amounts.

An order that failed or was cancelled may have been paid in the last moment: then its money goes back, which has an hour.
"""

from datetime import timedelta
from typing import Any

import msgspec

from careforall.audit.verification.balances import Comparison, Span, pages
from careforall.audit.verification.books import Books
from careforall.audit.verification.report import Outcome, Violation

_PAID = frozenset({"CONFIRMED", "PROCESSING", "SHIPPED", "DELIVERED", "RETURNED", "REFUNDED"})
_ENDED = frozenset({"FAILED", "CANCELLED"})
_WAY_BACK = timedelta(hours=1)
"""How long money may be on its way back; who came by before that has to look at it again."""


async def captured_orders_are_confirmed(books: Books, span: Span) -> Outcome:
    """Every captured intent of an order has its confirmed order, or went back."""
    found: list[Violation] = []
    due = msgspec.structs.replace(span, since=span.since - _WAY_BACK)
    async for intents in pages(books, "payments", CAPTURED_ORDERS, due):
        rows = await books.fetch("orders", ORDERS_OF_INTENTS, [intent["id"] for intent in intents])
        orders = {row["intent_id"]: row for row in rows}
        found += [
            Violation(key=str(intent["id"]), detail=wrong)
            for intent in intents
            if (wrong := _unlike_order(intent, orders.get(intent["id"])))
        ]
    return Outcome(name="money.captured_orders_are_confirmed", services=("payments", "orders"), violations=found)


async def confirmed_orders_are_captured(books: Books, span: Span) -> Outcome:
    """Every order confirmed by a payment has its captured intent, of equal amounts."""
    found: list[Violation] = []
    async for orders in pages(books, "orders", CONFIRMED_ORDERS, span):
        rows = await books.fetch("payments", INTENTS_OF_ORDERS, [order["intent_id"] for order in orders])
        intents = {row["id"]: row for row in rows}
        found += [
            Violation(key=order["order_number"], detail=wrong)
            for order in orders
            if (wrong := _unlike_intent(order, intents.get(order["intent_id"]), span))
        ]
    return Outcome(name="money.confirmed_orders_are_captured", services=("orders", "payments"), violations=found)


COMPARISONS: tuple[tuple[frozenset[str], Comparison], ...] = (
    (frozenset({"payments", "orders"}), captured_orders_are_confirmed),
    (frozenset({"payments", "orders"}), confirmed_orders_are_captured),
)
"""Each comparison with the services whose books it needs."""


def _unlike_order(intent: Any, order: Any) -> str | None:
    """Return how a captured intent and its order differ."""
    if order is None:
        return "captured for an order that does not exist"
    if (intent["amount"], intent["currency"]) != (order["total"], order["currency"]):
        return f"captured {intent['amount']} {intent['currency']}, order of {order['total']} {order['currency']}"
    if order["status"] in _PAID and order["refunded_amount"] < intent["refunded_amount"]:
        return f"refunded {intent['refunded_amount']}, order {order['order_number']} knows of {order['refunded_amount']}"
    back = intent["refunded_amount"] == intent["amount"]
    if order["status"] in _PAID or (order["status"] in _ENDED and (back or not intent["settled"])):
        return None
    return f"captured, but order {order['order_number']} is {order['status']}" if intent["settled"] else None


def _unlike_intent(order: Any, intent: Any, span: Span) -> str | None:
    """Return how a confirmed order and its intent differ."""
    if intent is None or not intent["captured_amount"]:
        return "confirmed, but not captured"
    if (intent["amount"], intent["currency"]) != (order["total"], order["currency"]):
        return f"order of {order['total']} {order['currency']}, captured {intent['amount']} {intent['currency']}"
    told = intent["updated_at"] < span.cut_off
    if intent["refunded_amount"] < order["refunded_amount"] or (told and intent["refunded_amount"] != order["refunded_amount"]):
        return f"refunded {order['refunded_amount']} here, {intent['refunded_amount']} there"
    return None


CAPTURED_ORDERS = """
SELECT id, subject_id, amount, currency, refunded_amount, updated_at < clock_timestamp() - interval '1 hour' AS settled
FROM payment_intents
WHERE subject_type = 'ORDER' AND captured_amount > 0 AND id > $1 AND updated_at >= $2 AND updated_at < $3
ORDER BY id
LIMIT $4
"""
ORDERS_OF_INTENTS = """
SELECT id, intent_id, order_number, status, total, refunded_amount, currency
FROM orders
WHERE intent_id = ANY($1::uuid[])
"""
CONFIRMED_ORDERS = """
SELECT id, intent_id, order_number, total, refunded_amount, currency
FROM orders
WHERE confirmed_at IS NOT NULL AND paid_by = 'PAYMENT' AND id > $1 AND updated_at >= $2 AND updated_at < $3
ORDER BY id
LIMIT $4
"""
INTENTS_OF_ORDERS = """
SELECT id, amount, currency, captured_amount, refunded_amount, updated_at FROM payment_intents WHERE id = ANY($1::uuid[])
"""
