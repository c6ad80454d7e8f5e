"""Free text and strict JSON: what is refused, and that nothing else is."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall.kit import json as strict
from careforall.kit.errors import InvalidInput, Malformed
from careforall.kit.text import looks_like_card_number, refuse_texts, text_error

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a":1,}',
        b"[1,2",
        b'{"a" 1}',
        b"nul",
        b"{}{}",
        b"{} x",
        b"'a'",
        b"\x00",
        b'{"a":1,"a":2}',
        b'{"x":{"b":1,"b":1}}',
        b"NaN",
        b'{"a":NaN}',
        b"[Infinity]",
        b"[-Infinity]",
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        '{"a":1}'.encode("utf-16"),
        b'{"a":"\n"}',
        b"[" * 33 + b"]" * 33,
        b"[" * 10_000,
        b'{"a":' * 10_000,
        b'["[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["' + b",[" * 33,
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes) -> None:
    with pytest.raises(Malformed) as refused:
        strict.check(body)
    assert (refused.value.status, refused.value.code) == (400, "malformed_json")


@pytest.mark.parametrize("body", [b"[" * 32 + b"]" * 32, b'"' + b"[" * 99 + b'"', b'{"a":[1,"\\"[[["]}', b"1e400", b"0", b" {} "])
def test_strict_json_of_legal_depth_is_let_through(body: bytes) -> None:
    strict.check(body)


@given(value=VALUES)
def test_whatever_json_can_say_is_let_through(value: object) -> None:
    strict.check(json.dumps(value).encode())


@given(body=st.binary(max_size=64))
def test_any_bytes_are_strict_json_or_malformed_and_never_another_error(body: bytes) -> None:
    try:
        strict.check(body)
    except Malformed:
        return
    json.loads(body.decode())


@pytest.mark.parametrize(
    "text", ["4111111111111111", "4111 1111 1111 1111", "my card is 5500-0000-0000-0004, thanks", "x378282246310005x"]
)
def test_card_numbers_are_recognised(text: str) -> None:
    assert looks_like_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1234567890123",
        "123456789012",
        "0000000000000000",
        "for my 100 friends",
        "2027-01-31 12:00:00",
        "1e10",
        "+49 30 1234567",
    ],
)
def test_other_numbers_are_no_card_numbers(text: str) -> None:
    assert not looks_like_card_number(text)


@pytest.mark.parametrize("bad", ["\x00", "\r", "\n", "\x1b", "\u202e", "\u200b", "\ufeff", "\ud800", "\x7f", "\u2028"])
def test_control_and_format_characters_are_refused_in_names(bad: str) -> None:
    error = text_error("/name", f"Ada{bad}", limit=100)
    assert error is not None
    assert (error.pointer, error.code) == ("/name", "invalid_character")


@pytest.mark.parametrize(
    "fine", ["Ada Lovelace", "José", "王小明", "O'Neill; DROP TABLE --", "{{7*7}} %s", "<b>", "😀", "é" * 50]
)
def test_names_of_the_world_and_harmless_payloads_are_stored_as_they_are(fine: str) -> None:
    assert text_error("/name", fine, limit=100) is None


@pytest.mark.parametrize(
    "joined",
    [
        "👨\u200d👩\u200d👧\u200d👦",
        "👩🏽\u200d🚀",
        "❤\ufe0f\u200d🔥",
        "🙂\u200d↔\ufe0f",
        "می\u200cخواهم خانه\u200cها",
        "مُ\u200cهم",
        "क्\u200dष",
        "ক্\u200c",
        "র\u200d্য",
    ],
)
def test_joiners_are_kept_where_words_and_emoji_need_them(joined: str) -> None:
    assert text_error("/name", f"A {joined} b", limit=100) is None


@pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
@pytest.mark.parametrize(
    "around",
    [
        "pay{}pal",
        "{}",
        "{}Ada",
        "Ada{}",
        " {} ",
        "4242{}424242424242",
        "👨{}",
        "{}👨",
        "👨{}a",
        "می{}",
        "می{}a",
        "می{}{}خ",
        "👨{}{}👩",
        "4\ufe0f{}2",
    ],
)
def test_joiners_that_nobody_sees_are_refused(around: str, joiner: str) -> None:
    error = text_error("/name", around.replace("{}", joiner), limit=100)
    assert error is not None
    assert error.code == "invalid_character"


def test_long_texts_of_joiners_are_read_to_the_end() -> None:
    assert text_error("/story", "👩\u200d" * 10_000 + "👩", limit=20_001) is None
    assert text_error("/story", "م\u200c" + "\u064f" * 10_000 + "\u200cم", limit=20_001) is not None


def test_messages_may_have_lines() -> None:
    assert text_error("/message", "one\r\n\ttwo", limit=100, lines=True) is None
    assert text_error("/message", "one\x00", limit=100, lines=True) is not None


def test_the_length_counts_characters_and_a_million_combining_marks_are_too_long() -> None:
    assert text_error("/name", "é" * 100, limit=100) is None
    long = text_error("/name", "e" + "\u0301" * 10**6, limit=100)
    assert long is not None
    assert long.code == "too_long"


def test_all_texts_at_fault_are_named_at_once() -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse_texts(text_error("/a", "\x00", limit=9), None, text_error("/b", "x" * 10, limit=9))
    assert [(error.pointer, error.code) for error in refused.value.errors] == [("/a", "invalid_character"), ("/b", "too_long")]
