"""Catalog: owns products with their variants and images, and the tree of categories.

Events out: catalog.product_created, .product_updated, .product_removed, .product_snapshot.
Events in: inventory.stock_changed, .stock_snapshot (what is in stock).
"""
