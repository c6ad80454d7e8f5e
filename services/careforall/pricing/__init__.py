"""Pricing: owns the rules of prices, coupons with their uses, tax and shipping rates, and prices that are locked for checkouts.

Events out: pricing.coupon_changed. Events in: catalog.product_created, catalog.product_updated, catalog.product_removed,
catalog.product_snapshot, inventory.stock_changed, inventory.stock_snapshot, orders.confirmed (for rules of demand).
Queries answered: query.pricing.quote, ask.pricing.lock, ask.pricing.extend, ask.pricing.redeem, ask.pricing.release.
"""
