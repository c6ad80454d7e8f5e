"""A CSV file of products as rows and products, before anybody looks at what its cells mean; pure.

One row is one variant. Rows with the same slug are one product, wherever in the file they stand; a row without slug is a product
by itself. What is wrong with the file as a whole refuses it; what is wrong with a row is kept with the row.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence

import msgspec

from careforall.catalog.columns import known_column
from careforall.kit.errors import FieldError, InvalidInput
from careforall.kit.sheets import unguarded

MAX_COLUMNS = 1000
_FOREIGN = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UNDECODED = re.compile("[\udc80-\udcff]")


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a row is refused: the line it begins on (from 1), the column, a stable code and a sentence."""

    line: int
    column: str
    code: str
    message: str


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row: the line it begins on, its cells in the order of the columns, and what is wrong with it already."""

    line: int
    cells: Sequence[str]
    errors: tuple[RowError, ...] = ()


class Sheet(msgspec.Struct, frozen=True, kw_only=True):
    """A whole file: its columns, and its rows gathered by product, in the order in which the products begin."""

    columns: tuple[str, ...]
    products: tuple[tuple[Row, ...], ...]
    slugs: frozenset[str]
    """Every slug that the file names: no product without one may be given it."""

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(map(len, self.products))


def read(content: bytes, *, most_rows: int) -> Sheet:
    """Return the rows of a file.

    Raises:
        InvalidInput: The file as a whole cannot be read; the error says why.
    """
    text = _decoded(content)
    records = _records(text)
    columns = _columns(records)
    rows: list[Row] = []
    for line, cells in records:
        if not isinstance(cells, str) and not any(cells):
            continue
        if len(rows) == most_rows:
            raise _file("too_many_rows", f"at most {most_rows} rows; split the file")
        rows.append(_row(line, cells, columns))
    if not rows:
        raise _file("empty_file", "the file has no rows")
    products = _by_product(_without_repeats(rows, columns), columns)
    return Sheet(
        columns=columns,
        products=tuple(map(tuple, products.values())),
        slugs=frozenset(key for key in products if isinstance(key, str)),
    )


def _decoded(content: bytes) -> str:
    if content.startswith(_FOREIGN) or b"\0" in content.partition(b"\n")[0]:
        raise _file("wrong_encoding", "save the file as CSV in UTF-8")
    text = content.decode("utf-8-sig", errors="surrogateescape")
    if not text.strip():
        raise _file("empty_file", "the file is empty")
    return text


def _records(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Yield each record with the line it begins on; a sentence instead of one that cannot be read."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield line, str(error)
            continue
        if cells:
            yield line, [unguarded(cell) for cell in cells]


def _delimiter(text: str) -> str:
    """Return what separates cells: a comma, or the semicolon that spreadsheets of many countries write."""
    header = text.lstrip("\r\n").splitlines()[0]
    return ";" if ";" in header and "," not in header else ","


def _columns(records: Iterator[tuple[int, list[str] | str]]) -> tuple[str, ...]:
    _, header = next(records)
    if isinstance(header, str):
        raise _file("malformed_row", f"the header cannot be read: {header}")
    columns = tuple(name.strip().lower() for name in header)
    if len(columns) > MAX_COLUMNS:
        raise _file("too_many_columns", f"at most {MAX_COLUMNS} columns")
    errors = list(_column_errors(columns))
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)
    return columns


def _column_errors(columns: Sequence[str]) -> Iterator[FieldError]:
    seen = set[str]()
    for index, name in enumerate(columns):
        where = f"/columns/{index}"
        if not known_column(name):
            yield FieldError(pointer=where, code="unknown_column", message=f"column {index + 1} has no name that is known here")
        elif name in seen:
            yield FieldError(pointer=where, code="duplicate_column", message=f"{name} is there twice")
        seen.add(name)
    if not seen & {"sku", "slug"}:
        yield FieldError(pointer="/columns", code="missing_column", message="one column has to be sku or slug")


def _row(line: int, cells: list[str] | str, columns: Sequence[str]) -> Row:
    if isinstance(cells, str):
        return _unread(line, "malformed_row", f"the row cannot be read: {cells}")
    if len(cells) != len(columns):
        code = "too_many_cells" if len(cells) > len(columns) else "too_few_cells"
        return _unread(line, code, f"{len(cells)} cells, the header has {len(columns)}")
    foreign = [
        RowError(line=line, column=name, code="invalid_encoding", message="not UTF-8")
        for name, cell in zip(columns, cells, strict=True)
        if not cell.isascii() and _UNDECODED.search(cell)
    ]
    return Row(line=line, cells=cells, errors=tuple(foreign))


def _unread(line: int, code: str, message: str) -> Row:
    return Row(line=line, cells=(), errors=(RowError(line=line, column="", code=code, message=message),))


def _without_repeats(rows: Sequence[Row], columns: Sequence[str]) -> Iterator[Row]:
    """Yield the rows; one whose SKU was there before is at fault."""
    if "sku" not in columns:
        yield from rows
        return
    place, first = columns.index("sku"), dict[str, int]()
    for row in rows:
        sku = row.cells[place] if row.cells else ""
        if sku and first.setdefault(sku, row.line) != row.line:
            error = RowError(line=row.line, column="sku", code="duplicate_entry", message=f"line {first[sku]} has the same SKU")
            yield msgspec.structs.replace(row, errors=(*row.errors, error))
        else:
            yield row


def _by_product(rows: Iterator[Row], columns: Sequence[str]) -> dict[str | int, list[Row]]:
    place = columns.index("slug") if "slug" in columns else None
    gathered: dict[str | int, list[Row]] = {}
    for row in rows:
        slug = row.cells[place] if place is not None and row.cells else ""
        gathered.setdefault(slug or row.line, []).append(row)
    return gathered


def _file(code: str, message: str) -> InvalidInput:
    return InvalidInput.field("", code, message)
