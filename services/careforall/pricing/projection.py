"""The service's own copy of what others own: products, stock levels, and the units sold, newer versions only (rule 5)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from careforall.kit.db import Connection
from careforall.pricing import repository
from careforall.pricing.domain import Product, ProductVariant, StockLevel


class Projection:
    """Folds what the consumers hear, in the transaction of their inbox rows."""

    async def products(self, connection: Connection, told: Sequence[tuple[Product, Sequence[ProductVariant]]]) -> None:
        """Keep products with their variants where they are newer."""
        newest = {product.product_id: (product, variants) for product, variants in sorted(told, key=lambda one: one[0].version)}
        kept = await repository.keep_products(connection, [product for product, _ in newest.values()])
        variants = {variant.sku: variant for product_id, (_, owned) in newest.items() if product_id in kept for variant in owned}
        if kept:
            await repository.keep_variants(connection, sorted(kept), list(variants.values()))

    async def stock(self, connection: Connection, told: Sequence[StockLevel]) -> None:
        """Keep stock levels where they are newer."""
        newest = {level.sku: level for level in sorted(told, key=lambda level: level.version)}
        await repository.keep_stock(connection, list(newest.values()))

    async def sales(self, connection: Connection, sold: Sequence[tuple[str, datetime, int]]) -> None:
        """Count units by the hour in which they were sold."""
        units: Counter[tuple[str, datetime]] = Counter()
        for sku, moment, quantity in sold:
            units[sku, moment.replace(minute=0, second=0, microsecond=0)] += quantity
        await repository.count_demand(connection, [(sku, hour, count) for (sku, hour), count in units.items() if count > 0])
