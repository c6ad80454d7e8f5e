"""The columns of a file of products: what a cell means, and how a product is written into cells; pure.

Reading undoes writing: a file that was exported changes nothing when it is imported. An empty cell keeps what is known of the
product, or takes the default of a new one; only what may be empty is emptied by it.
"""

import contextlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, get_args

import msgspec

from careforall.catalog.domain import MAX_IMAGES, Image, Product, Variant
from careforall.catalog.schemas import NewImage
from careforall.contracts.catalog import ProductStatus, ReservationPolicy
from careforall.kit import json, money
from careforall.kit.sheets import guarded

PRODUCT = (
    *("slug", "name", "description", "brand", "category", "status", "base_price", "sale_price", "currency"),
    *("images", "reservation_policy", "max_per_order", "shippable", "tax_category"),
)
"""What a product's first row says for all its rows."""
VARIANT = ("sku", "price_difference", "active")
"""What each row says of its variant."""
ATTRIBUTE = "attr."
"""Before the name of a product's attribute, such as `attr.material`."""
VARIANT_ATTRIBUTE = "variant_attr."
"""Before the name of a variant's attribute, such as `variant_attr.color`."""
_NAMED = re.compile(r"(?:variant_)?attr\.[a-z][a-z0-9_]{0,39}")
_WHOLE = re.compile(r"[0-9]{1,5}")
_MOST_PER_ORDER = 10_000
_EMPTIED: dict[str, Any] = {"description": "", "brand": "", "category": "", "sale_price": None, "images": []}
"""What an empty cell makes of a product; other empty cells keep what is known."""
_images = msgspec.json.Decoder(list[NewImage]).decode


class BadCell(Exception):
    """A cell that cannot mean anything: a stable code and a sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def known_column(name: str) -> bool:
    """Whether a column may have this name."""
    return name in PRODUCT or name in VARIANT or _NAMED.fullmatch(name) is not None


def of_product(column: str) -> bool:
    """Whether a column says something of the product, not of one variant."""
    return column in PRODUCT or column.startswith(ATTRIBUTE)


def attribute_of(column: str) -> str | None:
    """Return the attribute of a product or variant that a column names, None for any other column."""
    prefix, _, name = column.partition(".")
    return name if prefix + "." in {ATTRIBUTE, VARIANT_ATTRIBUTE} else None


def value_of(column: str, cell: str) -> Any:
    """Return what a cell means, or UNSET where it says nothing.

    Raises:
        BadCell: It cannot mean anything.
    """
    if cell == "" and column in _EMPTIED:
        return _EMPTIED[column]
    if cell == "" and column in _READ:
        return msgspec.UNSET
    read = _READ.get(column)
    return read(cell) if read is not None else cell


def columns_for(attributes: Iterable[str], variant_attributes: Iterable[str]) -> tuple[str, ...]:
    """Return the columns of an export."""
    named = (
        *(ATTRIBUTE + name for name in sorted(attributes)),
        *(VARIANT_ATTRIBUTE + name for name in sorted(variant_attributes)),
    )
    return (*PRODUCT, *VARIANT, *named)


def cells_of(product: Product, columns: Sequence[str]) -> list[list[str]]:
    """Return a product as rows: one for each variant, or one for the bare product."""
    said = _product_cells(product)
    rows = [said | _variant_cells(product, variant) for variant in product.variants] or [said]
    return [[guarded(row.get(column, "")) for column in columns] for row in rows]


def _product_cells(product: Product) -> dict[str, str]:
    def shown(amount: Decimal) -> str:
        return money.show(amount, product.currency)

    cells = {name: str(getattr(product, name)) for name in PRODUCT if name not in {"images", "shippable"}}
    cells |= {
        "base_price": shown(product.base_price),
        "sale_price": "" if product.sale_price is None else shown(product.sale_price),
        "shippable": _bool_cell(product.shippable),
        "images": _image_cell(product.images),
    }
    return cells | {ATTRIBUTE + name: value for name, value in product.attributes.items()}


def _variant_cells(product: Product, variant: Variant) -> dict[str, str]:
    cells = {
        "sku": variant.sku,
        "price_difference": money.show(variant.price_difference, product.currency),
        "active": _bool_cell(variant.active),
    }
    return cells | {VARIANT_ATTRIBUTE + name: value for name, value in variant.attributes.items()}


def _bool_cell(value: bool) -> str:  # noqa: FBT001 - the value itself
    return "true" if value else "false"


def _image_cell(images: Sequence[Image]) -> str:
    """Return addresses with spaces between where that says all, else JSON."""
    if not images:
        return ""
    made = [_new_image(image) for image in images]
    plain = " ".join(image.url for image in images)
    return plain if _read_images(plain) == made else json.encode(made).decode()


def _new_image(image: Image) -> NewImage:
    return NewImage(url=image.url, alt=image.alt, display_order=image.display_order, is_primary=image.is_primary)


def _read_images(cell: str) -> list[NewImage]:
    if cell.lstrip().startswith("["):
        try:
            return _images(cell)
        except (msgspec.MsgspecError, UnicodeEncodeError):
            raise BadCell("invalid_value", "not a JSON list of images with url, alt, display_order and is_primary") from None
    urls = cell.split()
    if len(urls) > MAX_IMAGES:
        raise BadCell("too_many", f"at most {MAX_IMAGES} images")
    return [NewImage(url=url, display_order=place, is_primary=place == 0) for place, url in enumerate(urls)]


def _read_number(cell: str) -> Decimal:
    text = cell.strip()
    if len(text) <= money.MAX_DIGITS and "_" not in text and text.isascii():
        with contextlib.suppress(InvalidOperation):
            return Decimal(text)
    raise BadCell("not_a_number", 'write the amount as "25.00", with a point and without thousands separators')


def _read_per_order(cell: str) -> int:
    text = cell.strip()
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= _MOST_PER_ORDER:
        raise BadCell("invalid_value", f"a whole number from 1 to {_MOST_PER_ORDER}")
    return int(text)


def _read_bool(cell: str) -> bool:
    text = cell.strip().lower()
    if text not in {"true", "false"}:
        raise BadCell("invalid_value", "true or false")
    return text == "true"


def _one_of(words: Sequence[str]) -> Callable[[str], str]:
    def read(cell: str) -> str:
        text = cell.strip().upper()
        if text not in words:
            raise BadCell("invalid_value", f"one of {', '.join(words)}")
        return text

    return read


def _as_it_is(cell: str) -> str:
    return cell


_READ: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("slug", "name", "currency", "tax_category", "sku"), _as_it_is),
    **dict.fromkeys(("base_price", "sale_price", "price_difference"), _read_number),
    **dict.fromkeys(("shippable", "active"), _read_bool),
    "status": _one_of(get_args(ProductStatus)),
    "reservation_policy": _one_of(get_args(ReservationPolicy)),
    "images": _read_images,
    "max_per_order": _read_per_order,
}
"""How cells are read that are no plain text; these, empty, say nothing (unless they empty something)."""
