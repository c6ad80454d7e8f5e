"""Carts: owns carts of guests and users, with their items, coupons and the stock held for them.

Events out: none of its own. Events in: catalog.product_created, catalog.product_updated, catalog.product_removed,
catalog.product_snapshot, inventory.stock_changed, inventory.stock_snapshot, pricing.coupon_changed, orders.confirmed,
accounts.signed_in. Queries answered: query.carts.contents, ask.carts.clear.
"""
