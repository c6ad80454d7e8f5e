"""The service's own copy of goods, stock and coupons, newer versions only (rule 5); nothing is asked on a cart's way."""

from collections.abc import Sequence
from uuid import UUID

from careforall.carts import repository
from careforall.carts.repository import ProductFact, VariantFact
from careforall.kit.db import Connection


class Projection:
    """Folds what the consumers hear, in the transaction of their inbox rows."""

    async def products(self, connection: Connection, told: Sequence[tuple[ProductFact, Sequence[VariantFact]]]) -> None:
        """Keep products with their variants where they are newer."""
        newest = {product.product_id: (product, variants) for product, variants in sorted(told, key=lambda one: one[0].version)}
        kept = await repository.keep_products(connection, [product for product, _ in newest.values()])
        if kept:
            variants = {one.sku: one for key, (_, owned) in newest.items() if key in kept for one in owned}
            await repository.keep_variants(connection, sorted(kept), list(variants.values()))

    async def stock(self, connection: Connection, told: Sequence[tuple[str, int, int]]) -> None:
        """Keep (SKU, available, version) where newer."""
        newest = {sku: (sku, available, version) for sku, available, version in sorted(told, key=lambda one: one[2])}
        await repository.keep_stock(connection, list(newest.values()))

    async def coupons(self, connection: Connection, told: Sequence[tuple[str, UUID, bool, int]]) -> None:
        """Keep (code, id, active, version) where newer."""
        newest = {one[0]: one for one in sorted(told, key=lambda one: one[3])}
        await repository.keep_coupons(connection, list(newest.values()))
