"""The service's own copy of goods, stock and coupons, newer versions only (rule 5)."""

from collections.abc import Sequence
from uuid import UUID

from careforall.carts import repository
from careforall.carts.repository import ProductFact, VariantFact
from careforall.contracts.catalog import ProductEvent
from careforall.contracts.products import Versioned, newest
from careforall.kit.db import Connection


class Projection:
    """Folds what the consumers hear, in the transaction of their inbox rows."""

    async def products(self, connection: Connection, told: Sequence[Versioned]) -> None:
        """Keep products (state, version) with their variants where they are newer."""
        latest = newest(told)
        kept = await repository.keep_products(connection, [_product(event, version) for event, version in latest.values()])
        if kept:
            variants = {one.sku: one for key, (event, _) in latest.items() if key in kept for one in _variants(event)}
            await repository.keep_variants(connection, sorted(kept), list(variants.values()))

    async def stock(self, connection: Connection, told: Sequence[tuple[str, int, int]]) -> None:
        """Keep (SKU, available, version) where newer."""
        latest = {sku: (sku, available, version) for sku, available, version in sorted(told, key=lambda one: one[2])}
        await repository.keep_stock(connection, list(latest.values()))

    async def coupons(self, connection: Connection, told: Sequence[tuple[str, UUID, bool, int]]) -> None:
        """Keep (code, id, active, version) where newer."""
        latest = {one[0]: one for one in sorted(told, key=lambda one: one[3])}
        await repository.keep_coupons(connection, list(latest.values()))


def _product(event: ProductEvent, version: int) -> ProductFact:
    return ProductFact(
        product_id=event.product_id,
        version=version,
        name=event.name,
        slug=event.slug,
        image_url=event.image_url,
        status=event.status,
        base_price=event.base_price,
        sale_price=event.sale_price,
        currency=event.currency,
        reservation_policy=event.reservation_policy,
        max_per_order=event.max_per_order,
    )


def _variants(event: ProductEvent) -> list[VariantFact]:
    return [
        VariantFact(
            sku=variant.sku,
            product_id=event.product_id,
            attributes=variant.attributes,
            price_difference=variant.price_difference,
            active=variant.active,
        )
        for variant in event.variants
    ]
