"""Orders: owns checkouts, their sagas, orders and returns.

Events out: checkout.initiated, orders.created, orders.confirmed, orders.processing, orders.shipped, orders.delivered,
orders.failed, orders.cancelled, orders.returned, orders.refunded, orders.snapshot. Events in: catalog's products, payments
authorized, captured, failed, voided, refunded of orders, and accounts.user_erased.
"""
