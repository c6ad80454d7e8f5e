"""The service's own copy of what others own: products, stock levels, and the units sold, newer versions only (rule 5)."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from careforall.contracts.catalog import ProductEvent
from careforall.contracts.products import Versioned, newest
from careforall.kit.db import Connection
from careforall.pricing import repository
from careforall.pricing.domain import Product, ProductVariant, StockLevel


class Projection:
    """Folds what the consumers hear, in the transaction of their inbox rows."""

    async def products(self, connection: Connection, told: Sequence[Versioned]) -> None:
        """Keep products (state, version) with their variants where they are newer."""
        latest = newest(told)
        kept = await repository.keep_products(connection, [_product(event, version) for event, version in latest.values()])
        if kept:
            variants = {one.sku: one for key, (event, _) in latest.items() if key in kept for one in _variants(event)}
            await repository.keep_variants(connection, sorted(kept), list(variants.values()))

    async def stock(self, connection: Connection, told: Sequence[StockLevel]) -> None:
        """Keep stock levels where they are newer."""
        latest = {level.sku: level for level in sorted(told, key=lambda level: level.version)}
        await repository.keep_stock(connection, list(latest.values()))

    async def sales(self, connection: Connection, sold: Sequence[tuple[str, datetime, int]]) -> None:
        """Count units by the hour in which they were sold."""
        units: Counter[tuple[str, datetime]] = Counter()
        for sku, moment, quantity in sold:
            units[sku, moment.replace(minute=0, second=0, microsecond=0)] += quantity
        await repository.count_demand(connection, [(sku, hour, count) for (sku, hour), count in units.items() if count > 0])


def _product(event: ProductEvent, version: int) -> Product:
    return Product(
        product_id=event.product_id,
        version=version,
        name=event.name,
        category_path=tuple(dict.fromkeys((*event.category_path, event.category))) if event.category else event.category_path,
        seller_id=event.seller_id,
        status=event.status,
        base_price=event.base_price,
        sale_price=event.sale_price,
        currency=event.currency,
        tax_category=event.tax_category,
        shippable=event.shippable,
    )


def _variants(event: ProductEvent) -> list[ProductVariant]:
    return [
        ProductVariant(
            sku=variant.sku,
            product_id=event.product_id,
            price_difference=variant.price_difference,
            active=variant.active,
        )
        for variant in event.variants
    ]
