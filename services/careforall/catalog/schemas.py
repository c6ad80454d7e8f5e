"""HTTP shapes of products and categories. Input forbids unknown fields; amounts are decimal strings (numbers are accepted)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.catalog.domain import Category, Image, Product, Variant
from careforall.contracts.catalog import ProductStatus, ReservationPolicy
from careforall.contracts.listing import AmountOut, Rating
from careforall.kit import money

AmountIn = Annotated[Decimal, Meta(description='Decimal string such as "25.00"; numbers are accepted.')]
CurrencyIn = Annotated[str, Meta(min_length=3, max_length=3, description="ISO 4217, upper case.")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Slug = Annotated[str, Meta(max_length=220, description="Lower-case letters, digits and hyphens.")]
Description = Annotated[str, Meta(max_length=20_000)]
Brand = Annotated[str, Meta(max_length=100)]
Attributes = Annotated[dict[str, str], Meta(max_length=30, description='Such as {"color": "red"}.')]
CategorySlug = Annotated[str, Meta(max_length=100, description="Slug of a category; empty: none.")]
PerOrder = Annotated[int, Meta(ge=1, le=10_000)]
TaxCategory = Annotated[str, Meta(min_length=1, max_length=40)]
Order = Annotated[int, Meta(ge=0, le=1_000_000)]


class NewVariant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A variant. Its SKU is its own for ever and nobody else's."""

    sku: Annotated[str, Meta(min_length=1, max_length=64)]
    attributes: Attributes = msgspec.field(default_factory=dict)
    price_difference: AmountIn = Decimal(0)
    active: bool = True


class NewImage(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A picture by its address."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)]
    alt: Annotated[str, Meta(max_length=200)] = ""
    display_order: Order = 0
    is_primary: bool = False


Variants = Annotated[list[NewVariant], Meta(max_length=100)]
Images = Annotated[list[NewImage], Meta(max_length=50)]


class NewProduct(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole product. Without a slug one is made of its name."""

    name: Name
    base_price: AmountIn
    currency: CurrencyIn
    slug: Slug | None = None
    description: Description = ""
    brand: Brand = ""
    category: CategorySlug | None = None
    sale_price: AmountIn | None = None
    status: ProductStatus = "ACTIVE"
    attributes: Attributes = msgspec.field(default_factory=dict)
    variants: Variants = []
    images: Images = []
    reservation_policy: ReservationPolicy = "AT_CHECKOUT"
    max_per_order: PerOrder = 10
    shippable: bool = True
    tax_category: TaxCategory = "standard"


class ProductPut(NewProduct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole product as it shall be. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET


class ProductPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a product; absent fields stay, lists are replaced whole. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    base_price: AmountIn | UnsetType = UNSET
    currency: CurrencyIn | UnsetType = UNSET
    slug: Slug | UnsetType = UNSET
    description: Description | UnsetType = UNSET
    brand: Brand | UnsetType = UNSET
    category: CategorySlug | None | UnsetType = UNSET
    sale_price: AmountIn | None | UnsetType = UNSET
    status: ProductStatus | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    variants: Variants | UnsetType = UNSET
    images: Images | UnsetType = UNSET
    reservation_policy: ReservationPolicy | UnsetType = UNSET
    max_per_order: PerOrder | UnsetType = UNSET
    shippable: bool | UnsetType = UNSET
    tax_category: TaxCategory | UnsetType = UNSET


class VariantPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a variant; absent fields stay."""

    sku: Annotated[str, Meta(min_length=1, max_length=64)] | UnsetType = UNSET
    attributes: Attributes | UnsetType = UNSET
    price_difference: AmountIn | UnsetType = UNSET
    active: bool | UnsetType = UNSET


class ImagePatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change an image; absent fields stay."""

    url: Annotated[str, Meta(min_length=1, max_length=2000)] | UnsetType = UNSET
    alt: Annotated[str, Meta(max_length=200)] | UnsetType = UNSET
    display_order: Order | UnsetType = UNSET
    is_primary: bool | UnsetType = UNSET


class VariantOut(msgspec.Struct, frozen=True, kw_only=True):
    """A variant with its price."""

    id: UUID
    sku: str
    attributes: dict[str, str]
    price_difference: AmountOut
    price: AmountOut
    active: bool
    in_stock: bool


class ProductOut(msgspec.Struct, frozen=True, kw_only=True):
    """A product with variants and images. `price` is what it costs now, before a variant's difference."""

    id: UUID
    slug: str
    name: str
    description: str
    brand: str
    category: str
    category_path: tuple[str, ...]
    seller_id: UUID | None
    status: ProductStatus
    base_price: AmountOut
    sale_price: AmountOut | None
    price: AmountOut
    currency: str
    attributes: dict[str, str]
    variants: list[VariantOut]
    images: list[Image]
    rating: Rating
    in_stock: bool
    reservation_policy: ReservationPolicy
    max_per_order: int
    shippable: bool
    tax_category: str
    version: int
    created_at: datetime
    updated_at: datetime


class VariantList(msgspec.Struct, frozen=True, kw_only=True):
    """Variants of a product."""

    items: list[VariantOut]


class NewCategory(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A category below `parent` (a slug), or a root. Without a slug one is made of its name."""

    name: Annotated[str, Meta(min_length=1, max_length=100)]
    slug: Annotated[str, Meta(max_length=100)] | None = None
    parent: CategorySlug | None = None
    display_order: Order = 0


class CategoryPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change or move a category with all below it; absent fields stay. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    name: Annotated[str, Meta(min_length=1, max_length=100)] | UnsetType = UNSET
    slug: Annotated[str, Meta(max_length=100)] | UnsetType = UNSET
    parent: CategorySlug | None | UnsetType = UNSET
    display_order: Order | UnsetType = UNSET


class CategoryOut(msgspec.Struct, frozen=True, kw_only=True):
    """A category with those below it; `path` are the slugs from the root."""

    id: UUID
    slug: str
    name: str
    parent: str | None
    level: int
    path: tuple[str, ...]
    display_order: int
    version: int
    children: "list[CategoryOut]" = []


class CategoryTree(msgspec.Struct, frozen=True, kw_only=True):
    """The roots of the tree."""

    categories: list[CategoryOut]


def product_out(product: Product, available: dict[str, int], *, staff: bool = False) -> ProductOut:
    """Return a product as the API shows it; visitors see active variants only."""
    variants = [variant_out(product, one, available) for one in product.variants if staff or one.active]
    fields = {name: getattr(product, name) for name in product.__struct_fields__ if name in ProductOut.__struct_fields__}
    fields |= {
        "base_price": money.show(product.base_price, product.currency),
        "sale_price": None if product.sale_price is None else money.show(product.sale_price, product.currency),
        "price": money.show(product.price, product.currency),
        "variants": variants,
        "images": list(product.images),
        "rating": Rating(average=f"{product.rating_average:.2f}", count=product.rating_count),
        "in_stock": any(one.in_stock and one.active for one in variants),
    }
    return ProductOut(**fields)


def variant_out(product: Product, variant: Variant, available: dict[str, int]) -> VariantOut:
    """Return a variant as the API shows it."""
    return VariantOut(
        id=variant.id,
        sku=variant.sku,
        attributes=variant.attributes,
        price_difference=money.show(variant.price_difference, product.currency),
        price=money.show(product.price + variant.price_difference, product.currency),
        active=variant.active,
        in_stock=product.status == "ACTIVE" and available.get(variant.sku, 0) > 0,
    )


def category_out(category: Category, children: list[CategoryOut]) -> CategoryOut:
    """Return a category as the API shows it."""
    return CategoryOut(
        id=category.id,
        slug=category.slug,
        name=category.name,
        parent=category.path[-2] if category.level else None,
        level=category.level,
        path=category.path,
        display_order=category.display_order,
        version=category.version,
        children=children,
    )


def tree_of(categories: list[Category]) -> CategoryTree:
    """Return categories, given parents first, as a tree."""
    below: dict[UUID | None, list[Category]] = {}
    for category in categories:
        below.setdefault(category.parent_id, []).append(category)

    def grown(parent: UUID | None) -> list[CategoryOut]:
        return [category_out(one, grown(one.id)) for one in below.get(parent, [])]

    return CategoryTree(categories=grown(None))
