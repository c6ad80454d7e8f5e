"""What the rows of one product say, and of which row and column a refusal speaks; pure."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from careforall.catalog import columns, domain
from careforall.catalog.domain import Product
from careforall.catalog.sheet import Row, RowError
from careforall.kit.errors import FieldError

_PART_OF_ONE = 3
"""How many steps lead to what is wrong with one variant: /variants/3/sku."""


class VariantSaid(msgspec.Struct, frozen=True, kw_only=True):
    """What a row says of its variant; an attribute without value is taken away."""

    line: int
    fields: dict[str, Any]
    attributes: dict[str, str]


class Said(msgspec.Struct, kw_only=True):
    """What rows say of their product and of its variants by SKU, and what is wrong with it."""

    rows: Sequence[Row]
    fields: dict[str, Any] = msgspec.field(default_factory=dict)
    attributes: dict[str, str] = msgspec.field(default_factory=dict)
    variants: dict[str, VariantSaid] = msgspec.field(default_factory=dict)
    errors: list[RowError] = msgspec.field(default_factory=list)
    unread: bool = False
    """Whether the cells were not even looked at."""

    @property
    def first(self) -> int:
        """The line on which the product begins."""
        return self.rows[0].line

    @property
    def bare(self) -> int:
        """How many rows speak of no variant."""
        return len(self.rows) - len(self.variants)

    def refuse(self, column: str, code: str, message: str, *, line: int | None = None) -> None:
        """Note what is wrong, with the first row if nothing else is said."""
        self.errors.append(RowError(line=line or self.first, column=column, code=code, message=message))

    def refuse_product(self, product: Product, error: FieldError) -> None:
        """Note what is wrong with the product that was made of the rows."""
        head, *rest = error.pointer.strip("/").split("/")
        line, prefix = self.first, columns.ATTRIBUTE
        if head == "variants" and len(rest) + 1 >= _PART_OF_ONE:
            variant = self.variants.get(product.variants[int(rest[0])].sku)
            line, prefix = variant.line if variant else line, columns.VARIANT_ATTRIBUTE
            head, *rest = rest[1:]
        column = prefix + "".join(rest) if head == "attributes" else head
        self.refuse("sku" if column == "variants" else column, error.code, error.message, line=line)

    def told(self) -> list[RowError]:
        """Return an error for each row: those that are right themselves are told which one is not."""
        wrong = {error.line for error in self.errors}
        sentence = f"line {min(wrong)} of the same product is at fault"
        others = [
            RowError(line=row.line, column="", code="product_refused", message=sentence)
            for row in self.rows
            if row.line not in wrong
        ]
        return sorted([*self.errors, *others], key=lambda error: error.line)


def read(names: Sequence[str], rows: Sequence[Row]) -> Said:
    """Read the cells of the rows of one product."""
    said = Said(rows=rows, errors=[error for row in rows for error in row.errors])
    if len(rows) > domain.MAX_VARIANTS:
        said.refuse("slug", "too_many", f"at most {domain.MAX_VARIANTS} rows are one product")
    if said.errors:
        said.unread = True
        return said
    first = dict(zip(names, rows[0].cells, strict=True))
    said.fields, said.attributes = _parts(said, first, rows[0].line, product=True)
    for row in rows:
        _read_row(said, first, dict(zip(names, row.cells, strict=True)), row.line)
    if said.bare > 1 or not (said.variants or "slug" in said.fields):
        said.refuse("sku", "required_field", "give each row a SKU; a row without one is a product by its slug")
    return said


def _read_row(said: Said, first: Mapping[str, str], cells: Mapping[str, str], line: int) -> None:
    for name, cell in cells.items():
        if columns.of_product(name) and cell not in {"", first[name]}:
            said.refuse(name, "differs", f"line {said.first} says something else of the same product", line=line)
    fields, attributes = _parts(said, cells, line, product=False)
    if sku := fields.pop("sku", ""):
        said.variants[sku] = VariantSaid(line=line, fields=fields, attributes=attributes)


def _parts(said: Said, cells: Mapping[str, str], line: int, *, product: bool) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what cells say of a product, or of a variant: fields, and attributes by name."""
    fields: dict[str, Any] = {}
    attributes: dict[str, str] = {}
    for name, cell in cells.items():
        if columns.of_product(name) != product:
            continue
        if (attribute := columns.attribute_of(name)) is not None:
            attributes[attribute] = cell
            continue
        try:
            value = columns.value_of(name, cell)
        except columns.BadCell as bad:
            said.refuse(name, bad.code, bad.message, line=line)
            continue
        if value is not msgspec.UNSET:
            fields[name] = value
    return fields, attributes
