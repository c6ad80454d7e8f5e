"""What a drill is given: the platform, how hard to press it, and whom to tell."""

from __future__ import annotations

from collections.abc import Callable

from msgspec import Struct

from careforall.drills.local import LocalProcesses
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


class Setting(Pressure, frozen=True, kw_only=True):
    """One drill's setting."""

    visitor: Visitor
    processes: LocalProcesses
    redis_url: str
    tell: Callable[[str], None]
