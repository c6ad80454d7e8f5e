"""Comparisons of orders with inventory and pricing: what was sold left the shelf, and what is kept is kept for somebody.

A pinned hold never runs out, so it has to belong to a checkout that still goes on.
"""

from collections import defaultdict
from typing import Any
from uuid import UUID

from careforall.audit.verification.balances import Comparison, Span, pages
from careforall.audit.verification.books import Books
from careforall.audit.verification.report import Outcome, Violation


async def confirmed_orders_left_the_shelf(books: Books, span: Span) -> Outcome:
    """Every confirmed order has the goods of its lines, sold to its saga: no more and no less."""
    found: list[Violation] = []
    async for orders in pages(books, "orders", CONFIRMED_GOODS, span):
        sold: defaultdict[UUID, dict[str, int]] = defaultdict(dict)
        for row in await books.fetch("inventory", SOLD_TO, [order["saga_id"] for order in orders]):
            sold[row["holder_id"]][row["sku"]] = row["quantity"]
        found += [
            Violation(key=order["order_number"], detail=wrong)
            for order in orders
            if (wrong := _unlike_goods(order, sold[order["saga_id"]]))
        ]
    return Outcome(name="stock.confirmed_orders_left_the_shelf", services=("orders", "inventory"), violations=found)


async def pinned_goods_are_of_open_checkouts(books: Books, _: Span) -> Outcome:
    """Stock that does not run out is held for a checkout that goes on."""
    violations = await _without_checkout(books, "inventory", PINNED_GOODS)
    return Outcome(name="stock.pinned_is_of_open_checkouts", services=("inventory", "orders"), violations=violations)


async def pinned_coupons_are_of_open_checkouts(books: Books, _: Span) -> Outcome:
    """A coupon whose hold does not run out is held for a checkout that goes on."""
    violations = await _without_checkout(books, "pricing", PINNED_COUPONS)
    return Outcome(name="pricing.pinned_is_of_open_checkouts", services=("pricing", "orders"), violations=violations)


COMPARISONS: tuple[tuple[frozenset[str], Comparison], ...] = (
    (frozenset({"orders", "inventory"}), confirmed_orders_left_the_shelf),
    (frozenset({"orders", "inventory"}), pinned_goods_are_of_open_checkouts),
    (frozenset({"orders", "pricing"}), pinned_coupons_are_of_open_checkouts),
)
"""Each comparison with the services whose books it needs."""


async def _without_checkout(books: Books, service: str, pinned: str) -> list[Violation]:
    held = await books.fetch(service, pinned)
    going_on = {row["id"] for row in await books.fetch("orders", GOING_ON, [row["holder_id"] for row in held])}
    return [
        Violation(key=row["key"], detail=f"held since {row['since']}, and no checkout of it goes on")
        for row in held
        if row["holder_id"] not in going_on
    ]


def _unlike_goods(order: Any, sold: dict[str, int]) -> str | None:
    """Return how the lines of a confirmed order and what was sold to it differ."""
    lines = dict(zip(order["skus"], order["quantities"], strict=True))
    off = [
        f"{lines.get(sku, 0)} of {sku} ordered, {sold.get(sku, 0)} sold"
        for sku in sorted(lines.keys() | sold.keys())
        if lines.get(sku, 0) != sold.get(sku, 0)
    ]
    return "; ".join(off) or None


CONFIRMED_GOODS = """
SELECT id, order_number, saga_id, skus, quantities
FROM orders
CROSS JOIN LATERAL (
    SELECT array_agg(sku) AS skus, array_agg(quantity) AS quantities
    FROM (SELECT sku, sum(quantity) AS quantity FROM order_lines WHERE order_id = orders.id GROUP BY sku) AS of_sku
) AS lines
WHERE confirmed_at IS NOT NULL AND id > $1 AND updated_at >= $2 AND updated_at < $3
ORDER BY id
LIMIT $4
"""
SOLD_TO = """
SELECT holder_id, sku, sum(quantity) AS quantity
FROM reservations
WHERE holder_id = ANY($1::uuid[]) AND status = 'CONFIRMED'
GROUP BY holder_id, sku
"""
PINNED_GOODS = """
SELECT concat_ws(' ', holder_id, sku, warehouse) AS key, holder_id, updated_at AS since
FROM reservations
WHERE status = 'PENDING' AND pinned AND updated_at < clock_timestamp() - interval '5 minutes'
"""
PINNED_COUPONS = """
SELECT concat_ws(' ', holder_id, coupon_id) AS key, holder_id, updated_at AS since
FROM coupon_holds
WHERE state = 'HELD' AND pinned AND updated_at < clock_timestamp() - interval '5 minutes'
"""
GOING_ON = "SELECT id FROM saga_state WHERE id = ANY($1::uuid[]) AND lease_until IS NOT NULL"
