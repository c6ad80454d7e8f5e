"""Products, variants, images and categories as values, and what may be true of them; pure."""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from urllib.parse import urlsplit
from uuid import UUID

import msgspec

from careforall.contracts.catalog import ProductStatus, ReservationPolicy
from careforall.kit import money
from careforall.kit.errors import FieldError, InvalidInput
from careforall.kit.text import text_error

MAX_LEVEL = 7
MAX_VARIANTS = 100
MAX_IMAGES = 50
MAX_ATTRIBUTES = 30
_SKU = 64
_SLUG = 200
_URL = 2000
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,39}")
_SLUG_FORM = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """What is sold: one SKU. Its price is the product's plus `price_difference`."""

    id: UUID
    sku: str
    attributes: dict[str, str]
    price_difference: Decimal
    active: bool


class Image(msgspec.Struct, frozen=True, kw_only=True):
    """A picture by its address."""

    id: UUID
    url: str
    alt: str
    display_order: int
    is_primary: bool


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """A product with all that belongs to it; `category` is a slug, with its path from the root."""

    id: UUID
    slug: str
    name: str
    description: str
    brand: str
    category: str
    category_path: tuple[str, ...]
    seller_id: UUID | None
    status: ProductStatus
    base_price: Decimal
    sale_price: Decimal | None
    currency: str
    attributes: dict[str, str]
    variants: tuple[Variant, ...]
    images: tuple[Image, ...]
    reservation_policy: ReservationPolicy
    max_per_order: int
    shippable: bool
    tax_category: str
    rating_average: Decimal
    rating_count: int
    version: int
    removed: bool
    created_at: datetime
    updated_at: datetime

    @property
    def price(self) -> Decimal:
        """What it costs now, before a variant's difference."""
        return self.base_price if self.sale_price is None else self.sale_price

    @property
    def picture(self) -> str:
        """The address of the primary image, or of the first."""
        ordered = sorted(self.images, key=lambda image: (not image.is_primary, image.display_order))
        return ordered[0].url if ordered else ""

    @property
    def visible(self) -> bool:
        """Whether visitors may see it."""
        return self.status != "INACTIVE" and not self.removed


class Category(msgspec.Struct, frozen=True, kw_only=True):
    """A node of the tree; `path` are the slugs from the root down to its own."""

    id: UUID
    slug: str
    name: str
    parent_id: UUID | None
    level: int
    path: tuple[str, ...]
    display_order: int
    version: int


def slug_of(name: str) -> str:
    """Return a name as it looks in an address; a name without any letter of the alphabet becomes `product`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain)[:_SLUG].strip("-") or "product"


def is_slug(text: str) -> bool:
    """Whether a text may name a product or category in an address."""
    return _SLUG_FORM.fullmatch(text) is not None


def checked(product: Product) -> Product:
    """Return the product with exact amounts.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    errors = [error for error in _texts(product) if error is not None]
    amounts = _amounts(product, errors)
    errors += _attribute_errors("/attributes", product.attributes)
    variants = tuple(_variant(product, index, amounts["sale_price"] or amounts["base_price"], errors) for index in _each(product))
    errors += _list_errors(product)
    errors += [error for index, image in enumerate(product.images) for error in _image_errors(index, image)]
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)
    return msgspec.structs.replace(product, variants=variants, **amounts)


def checked_category(category: Category) -> Category:
    """Return a category that may be stored.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    found = (text_error("/name", category.name, limit=100), _slug_error(category.slug, 100))
    errors = [error for error in found if error is not None]
    if category.level > MAX_LEVEL:
        errors.append(_field("/parent", "too_deep", f"at most {MAX_LEVEL + 1} levels"))
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)
    return category


def _each(product: Product) -> range:
    return range(len(product.variants))


def _texts(product: Product) -> Iterable[FieldError | None]:
    yield text_error("/name", product.name, limit=200)
    if not product.name.strip():
        yield _field("/name", "required_field", "give it a name")
    yield text_error("/description", product.description, limit=20_000, lines=True)
    yield text_error("/brand", product.brand, limit=100)
    yield text_error("/tax_category", product.tax_category, limit=40)
    yield _slug_error(product.slug, _SLUG + 20)


def _slug_error(slug: str, limit: int) -> FieldError | None:
    if is_slug(slug) and len(slug) <= limit:
        return None
    return _field("/slug", "invalid_slug", f"lower-case letters, digits and single hyphens, at most {limit}")


def _amounts(product: Product, errors: list[FieldError]) -> dict[str, Decimal | None]:
    base = _amount(product.base_price, product.currency, "/base_price", errors)
    sale = None if product.sale_price is None else _amount(product.sale_price, product.currency, "/sale_price", errors)
    if base is not None and sale is not None and sale > base:
        errors.append(_field("/sale_price", "above_base_price", "a sale price is not above the base price"))
    return {"base_price": base, "sale_price": sale}


def _amount(amount: Decimal, currency: str, pointer: str, errors: list[FieldError]) -> Decimal | None:
    try:
        return money.parse_amount(amount, currency)
    except money.MoneyError as error:
        where = "/currency" if error.code == "unknown_currency" else pointer
        errors.append(_field(where, error.code, str(error)))
        return None


def _variant(product: Product, index: int, price: Decimal | None, errors: list[FieldError]) -> Variant:
    variant, where = product.variants[index], f"/variants/{index}"
    errors += [error for error in (sku_error(f"{where}/sku", variant.sku),) if error]
    errors += _attribute_errors(f"{where}/attributes", variant.attributes)
    difference = _difference(variant.price_difference, product.currency, f"{where}/price_difference", errors)
    if price is not None and price + difference <= 0:
        errors.append(_field(f"{where}/price_difference", "price_not_positive", "with this difference it would cost nothing"))
    return msgspec.structs.replace(variant, price_difference=difference)


def _difference(amount: Decimal, currency: str, pointer: str, errors: list[FieldError]) -> Decimal:
    if amount.is_finite() and amount == 0:
        return Decimal(0)
    size = _amount(abs(amount), currency, pointer, errors) or Decimal(0)
    return size.copy_sign(amount)


def sku_error(pointer: str, sku: str) -> FieldError | None:
    """Return why a text is no SKU, or None where it may be one."""
    if 1 <= len(sku) <= _SKU and sku.isprintable() and sku == sku.strip():
        return None
    return _field(pointer, "invalid_sku", f"1 to {_SKU} printable characters, no space at either end")


def _attribute_errors(pointer: str, attributes: Mapping[str, str]) -> list[FieldError]:
    if len(attributes) > MAX_ATTRIBUTES:
        return [_field(pointer, "too_many", f"at most {MAX_ATTRIBUTES} attributes")]
    errors = []
    for name, value in attributes.items():
        if not _ATTRIBUTE.fullmatch(name):
            errors.append(_field(pointer, "invalid_attribute", "names are lower-case letters, digits and _, at most 40"))
        elif not value.strip():
            errors.append(_field(f"{pointer}/{name}", "required_field", "an attribute needs a value"))
        elif error := text_error(f"{pointer}/{name}", value, limit=100):
            errors.append(error)
    return errors


def _list_errors(product: Product) -> Iterable[FieldError]:
    if len(product.variants) > MAX_VARIANTS:
        yield _field("/variants", "too_many", f"at most {MAX_VARIANTS} variants")
    if len(product.images) > MAX_IMAGES:
        yield _field("/images", "too_many", f"at most {MAX_IMAGES} images")
    if sum(image.is_primary for image in product.images) > 1:
        yield _field("/images", "several_primary", "one image at most is the primary one")
    skus = [variant.sku for variant in product.variants]
    for index in repeated(skus):
        yield _field(f"/variants/{index}/sku", "duplicate_entry", "this SKU is given twice")


def repeated(texts: Sequence[str]) -> list[int]:
    """Return the places of texts that were there before."""
    return [index for index, text in enumerate(texts) if text in texts[:index]]


def _image_errors(index: int, image: Image) -> Iterable[FieldError]:
    where = f"/images/{index}"
    if not _is_web_address(image.url):
        yield _field(f"{where}/url", "invalid_url", f"an http or https address of at most {_URL} characters")
    if error := text_error(f"{where}/alt", image.alt, limit=200):
        yield error
    if image.display_order < 0:
        yield _field(f"{where}/display_order", "invalid_value", "at least 0")


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    good = url.isprintable() and " " not in url and len(url) <= _URL
    return good and parts.scheme in {"http", "https"} and bool(parts.hostname)


def _field(pointer: str, code: str, message: str) -> FieldError:
    return FieldError(pointer=pointer, code=code, message=message)
