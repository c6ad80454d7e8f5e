"""Search: owns an index of what is for sale, folded from the words of others, and finds in it.

Events in: catalog.product_created, .product_updated, .product_removed, .product_snapshot;
inventory.stock_changed, .stock_snapshot.
"""
