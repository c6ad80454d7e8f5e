"""Files of products before the database is asked: encodings, quotes, lines, and cells that no spreadsheet may run."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall.catalog import sheet
from careforall.kit.errors import InvalidInput
from careforall.kit.sheets import guarded, line, unguarded

HEADER = "sku,name,base_price,currency\n"
FORMULA = "=+-@\t\r"


def read(text: str | bytes, *, most_rows: int = 100) -> sheet.Sheet:
    return sheet.read(text.encode() if isinstance(text, str) else text, most_rows=most_rows)


def errors_of(found: sheet.Sheet) -> list[tuple[int, str, str]]:
    return [(one.line, one.column, one.code) for rows in found.products for row in rows for one in row.errors]


@pytest.mark.parametrize(
    ("content", "pointer", "code"),
    [
        (b"", "", "empty_file"),
        (b"\xef\xbb\xbf", "", "empty_file"),
        (b"\r\n \r\n", "", "empty_file"),
        (HEADER.encode(), "", "empty_file"),
        (HEADER.encode() + b",,,\r\n", "", "empty_file"),
        (HEADER.encode("utf-16"), "", "wrong_encoding"),
        ((HEADER + "a,b,1,EUR").encode("utf-16-le"), "", "wrong_encoding"),
        (b'sku,"name"x\na,b\n', "", "malformed_row"),
        (b"sku,stock\na,1\n", "/columns/1", "unknown_column"),
        (b"sku,,name\na,b,c\n", "/columns/1", "unknown_column"),
        (b"sku,attr.Color!\na,b\n", "/columns/1", "unknown_column"),
        (b"sku,name,sku\na,b,c\n", "/columns/2", "duplicate_column"),
        (b"name,base_price\na,1\n", "/columns", "missing_column"),
        (b"sku" + b",attr.a" * 1000 + b"\n", "", "too_many_columns"),
        (b"sku\n" + b"a\n" * 101, "", "too_many_rows"),
    ],
)
def test_a_file_that_cannot_be_read_as_a_whole_is_refused(content: bytes, pointer: str, code: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        read(content)
    assert [(one.pointer, one.code) for one in refused.value.errors] == [(pointer, code)]


def test_what_is_wrong_with_a_row_is_told_by_its_line_and_the_rows_around_it_are_read() -> None:
    found = read(
        HEADER.encode()
        + b'a,"two\r\nlines, ""quoted""",1.00,EUR\r\n'
        + b"\r\n"
        + b"b,too,many,cells,here\n"
        + b"c,too few\n"
        + "d,Große,1,EUR\n".encode("latin-1")
        + b'e,"bad" quote,1,EUR\n'
        + b"f,good,1,EUR\n"
        + b"a,again,1,EUR\n"
        + b'g,"never closed,1,EUR\n'
    )
    assert errors_of(found) == [
        (5, "", "too_many_cells"),
        (6, "", "too_few_cells"),
        (7, "name", "invalid_encoding"),
        (8, "", "malformed_row"),
        (10, "sku", "duplicate_entry"),
        (11, "", "malformed_row"),
    ]
    assert [rows[0].cells for rows in found.products][:1] == [["a", 'two\r\nlines, "quoted"', "1.00", "EUR"]]
    assert (found.rows, [rows[0].line for rows in found.products]) == (8, [2, 5, 6, 7, 8, 9, 10, 11])


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("start", ["", "\ufeff", "\n\n"])
@pytest.mark.parametrize("comma", [",", ";"])
def test_spreadsheets_of_every_country_are_read(start: str, end: str, comma: str) -> None:
    text = (start + HEADER + "a,b,1,EUR\n").replace(",", comma).replace("\n", end)
    found = read(text)
    assert [rows[0].cells for rows in found.products] == [["a", "b", "1", "EUR"]]


def test_empty_rows_are_none_wherever_they_stand_and_however_many_rows_there_may_be() -> None:
    text = f"{HEADER},,,\na,A,1,EUR\n\n,,,\n,,,\n"
    found = read(text)
    assert (found.rows, read(text, most_rows=found.rows)) == (1, found), (
        "an import reads its file again with as many rows as it had"
    )


def test_rows_of_one_slug_are_one_product_wherever_they_stand() -> None:
    found = read("sku,slug\na,mug\nb,cup\nc,\nd,mug\ne,\n")
    assert [[row.cells[0] for row in rows] for rows in found.products] == [["a", "d"], ["b"], ["c"], ["e"]]
    assert found.slugs == {"mug", "cup"}


def test_a_cell_of_endless_digits_is_the_fault_of_its_row_alone() -> None:
    found = read(HEADER + f"a,b,{'9' * 200_000},EUR\nb,c,1,EUR\n")
    assert errors_of(found) == [(2, "", "malformed_row")]
    assert found.rows == 2


@given(st.text(alphabet=st.sampled_from("'=+-@\t\rab\n,\";")))
def test_a_guarded_cell_starts_no_formula_and_is_read_as_what_it_was(text: str) -> None:
    assert not guarded(text).startswith(tuple(FORMULA))
    assert unguarded(guarded(text)) == text
    [cells] = csv.reader(io.StringIO(line([guarded(text), "x"]), newline=""), strict=True)
    assert [unguarded(cell) for cell in cells] == [text, "x"]
