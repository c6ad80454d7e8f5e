"""What a drill is given: the platform, how hard to press it, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from careforall.drills.local import LocalProcesses
from careforall.drills.people import People
from careforall.drills.visitor import Visitor


class Pressure(Struct, frozen=True, kw_only=True):
    """How hard to press; all times are seconds."""

    seed: int
    seconds: float
    """How long the failure lasts."""
    rate: float
    """Gifts a second meanwhile."""
    patience: float
    """When to stop waiting for what has not settled after the failure."""
    buyers: int = 0
    """How many come to a sale, where a drill holds one."""
    units: int = 0
    """How much there is to be sold."""


class Setting(Pressure, frozen=True, kw_only=True):
    """One drill's setting."""

    visitor: Visitor
    people: People
    processes: LocalProcesses
    redis_url: str
    tell: Callable[[str], None]
