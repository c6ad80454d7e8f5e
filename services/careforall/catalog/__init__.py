"""Catalog: owns products with variants and images, the tree of categories, imports of products, and reviews with their votes.

Events out: catalog.product_created, .product_updated, .product_removed, .product_snapshot, .review_submitted, .review_approved,
.review_rejected, .review_removed. Events in: inventory.stock_changed, .stock_snapshot (what is in stock), orders.confirmed,
.delivered, .cancelled, .snapshot (who may review), accounts.user_erased.
"""
