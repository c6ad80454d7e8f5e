"""Which known word somebody meant: pure."""

from collections.abc import Iterable

import msgspec

_SHORT = 5
"""Letters up to which a word may hold one slip; longer ones may hold two."""
_ALIKE = 0.3
"""Likeness from which a word is taken for another that has more slips in it, such as one half typed."""


class Near(msgspec.Struct, frozen=True, kw_only=True):
    """A known word that shares something with a given one; `alike` is the part of their trigrams that both have."""

    given: str
    word: str
    alike: float


def meant(candidates: Iterable[Near]) -> dict[str, str]:
    """Return for each given word the one that was probably meant, itself where it is known; nothing where none is near."""
    found: dict[str, tuple[int, float, str]] = {}
    for near in candidates:
        slips = slips_between(near.given, near.word)
        within = slips <= (1 if len(near.given) < _SHORT else 2)
        if within or near.alike >= _ALIKE:
            rank = (slips if within else len(near.given), -near.alike, near.word)
            found[near.given] = min(found.get(near.given, rank), rank)
    return {given: word for given, (_, _, word) in found.items()}


def exchanged(word: str) -> list[str]:
    """Return a word with each two neighbouring letters exchanged: short words share next to nothing with these."""
    return [word[:place] + word[place + 1] + word[place] + word[place + 2 :] for place in range(len(word) - 1)]


def slips_between(one: str, other: str) -> int:
    """Return how many slips of the hand lead from one word to another: a letter too many, missing, wrong, or two exchanged."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for row, letter in enumerate(one, 1):
        now = [row]
        for column, second in enumerate(other, 1):
            least = min(last[column] + 1, now[-1] + 1, last[column - 1] + (letter != second))
            exchanged = row > 1 and column > 1 and (one[row - 2], letter) == (second, other[column - 2])
            now.append(min(least, before[column - 2] + 1) if exchanged else least)
        before, last = last, now
    return last[-1]
