"""How far two words are apart, and which of several was meant."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from careforall.search.domain import Near, exchanged, meant, slips_between

WORDS = st.text("abcde", max_size=7)


@pytest.mark.parametrize(
    ("one", "other", "slips"),
    [
        ("shirt", "shirt", 0),
        ("shrit", "shirt", 1),
        ("hsirt", "shirt", 1),
        ("shirrt", "shirt", 1),
        ("shrt", "shirt", 1),
        ("short", "shirt", 1),
        ("hsitr", "shirt", 2),
        ("", "shirt", 5),
        ("ca", "abc", 3),
    ],
)
def test_slips_are_counted(one: str, other: str, slips: int) -> None:
    assert slips_between(one, other) == slips


@given(WORDS)
def test_exchanged_letters_are_one_slip(word: str) -> None:
    assert {slips_between(word, one) for one in exchanged(word) if one != word} <= {1}
    assert len(exchanged(word)) == max(0, len(word) - 1)


@given(WORDS, WORDS)
def test_slips_are_the_same_both_ways_and_none_only_between_equals(one: str, other: str) -> None:
    slips = slips_between(one, other)
    assert slips == slips_between(other, one)
    assert (slips == 0) == (one == other)
    assert abs(len(one) - len(other)) <= slips <= max(len(one), len(other))


def test_the_fewest_slips_win_then_the_likest_then_the_alphabet() -> None:
    told = [
        Near(given="shrit", word="shrimp", alike=0.4),
        Near(given="shrit", word="shirt", alike=0.2),
        Near(given="shrit", word="shrt", alike=0.3),
        Near(given="tae", word="toe", alike=0.1),
        Near(given="tae", word="tea", alike=0.1),
        Near(given="embroid", word="embroidered", alike=0.6),
        Near(given="lamp", word="clap", alike=0.1),
    ]
    assert meant(told) == {"shrit": "shrt", "tae": "tea", "embroid": "embroidered"}
    assert meant([]) == {}
