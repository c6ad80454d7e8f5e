"""Bad days of a company over the wire, by a seed: it throttles, fails before or after the work, answers late or cuts the line."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Literal

Mishap = Literal["fine", "throttle", "error_before", "error_after_success", "late", "cut"]

BAD: Mapping[Mishap, float] = {
    "fine": 0.6,
    "throttle": 0.1,
    "error_before": 0.08,
    "error_after_success": 0.08,
    "late": 0.04,
    "cut": 0.1,
}


class Weather:
    """What happens to each call, in turn.

    Args:
        seed: Says it all; print it.
        chances: How likely each mishap is.
    """

    def __init__(self, seed: int, chances: Mapping[Mishap, float] = BAD) -> None:
        self.seed = seed
        self.seen: dict[Mishap, int] = dict.fromkeys(chances, 0)
        self._random = random.Random(seed)
        self._kinds, self._weights = list(chances), list(chances.values())

    def next(self) -> Mishap:
        """What happens to the next call."""
        found = self._random.choices(self._kinds, self._weights)[0]
        self.seen[found] += 1
        return found
