"""Inventory: owns warehouses, stock, reservations and their movements, and answers checkouts that want to hold some of it.

Events out: inventory.reserved, .confirmed, .released, .expired, .low_stock, .stock_changed, .stock_snapshot.
Events in: catalog.product_created, .product_updated, .product_removed, .product_snapshot (which SKUs there are).
Asked: ask.inventory.reserve, .extend, .confirm, .release, .restock; query.inventory.availability.
"""
