"""How the simulated company misbehaves: switches somebody turns, and seeded chances, so that a failing run can be repeated.

Chances are drawn from the seed and the place of an intent since the switches were turned, never from the order of arrival:
the same payments under the same seed meet the same mishaps, however many run at once.
"""

import random
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

Rate = Annotated[float, Meta(ge=0, le=1, description="Chance from 0 to 1.")]

HELD_BACK_MS = 2000
"""How long a reordered event is held back at most, so that later ones overtake it."""


class Switches(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What goes wrong, and how often. Everything off is an honest company."""

    decline_rate: Rate = 0.0
    """Payers who press Pay and are declined."""
    timeout_after_charge: Rate = 0.0
    """Calls that do their work and are answered `timeout_ms` late."""
    timeout_ms: Annotated[int, Meta(ge=0, le=120_000)] = 30_000
    error_after_success: Rate = 0.0
    """Calls that do their work and are answered 500."""
    duplicate: Rate = 0.0
    """Events sent twice at once."""
    delay_ms: Annotated[int, Meta(ge=0, le=600_000)] = 0
    """How late every event is."""
    reorder: Rate = 0.0
    """Events held back until later ones have overtaken them."""
    drop: Rate = 0.0
    """Events that are never sent."""
    bad_signature: Rate = 0.0
    """Events whose first delivery is signed with a wrong secret."""
    dispute: Rate = 0.0
    """Payments disputed as soon as they are made."""
    seed: int = 0


class Chances:
    """The mishaps of one change of one intent.

    Args:
        switches: What goes wrong just now.
        place: Names the change among all since the switches were turned.
    """

    def __init__(self, switches: Switches, place: str) -> None:
        self.switches = switches
        self._place = place

    def hits(self, what: str, rate: float) -> bool:
        """Whether a chance of `rate` comes true for `what`."""
        return rate > 0 and self._draw(what) < rate

    def milliseconds(self, what: str, most: int) -> int:
        """Return a length of time up to `most`."""
        return int(self._draw(what) * most)

    def _draw(self, what: str) -> float:
        return random.Random(f"{self.switches.seed}:{self._place}:{what}").random()  # noqa: S311 - chaos, not a secret


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """What a batch is judged by: the switches as they stand, the last intent made before they were turned, and the time."""

    switches: Switches
    since: int
    now: datetime

    def chances(self, number: int, version: int) -> Chances:
        """Return the mishaps of one change of an intent, which is known by its number."""
        return Chances(self.switches, f"{number - self.since}:{version}")


class Fate(msgspec.Struct, frozen=True, kw_only=True):
    """How one event is going to be delivered."""

    delay_ms: int = 0
    copies: int = 1
    bad_signatures: int = 0
    dropped: bool = False


def fate(chances: Chances, event_type: str) -> Fate:
    """Decide how an event is delivered."""
    switches = chances.switches
    held_back = chances.hits(f"reorder {event_type}", switches.reorder)
    return Fate(
        delay_ms=switches.delay_ms + (chances.milliseconds(f"held back {event_type}", HELD_BACK_MS) if held_back else 0),
        copies=2 if chances.hits(f"duplicate {event_type}", switches.duplicate) else 1,
        bad_signatures=1 if chances.hits(f"bad signature {event_type}", switches.bad_signature) else 0,
        dropped=chances.hits(f"drop {event_type}", switches.drop),
    )


class CallFault(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong with the answer of a call that has done its work."""

    wait_ms: int = 0
    error: bool = False


def call_fault(chances: Chances) -> CallFault:
    """Decide how a call is answered."""
    switches = chances.switches
    late = chances.hits("timeout", switches.timeout_after_charge)
    return CallFault(wait_ms=switches.timeout_ms if late else 0, error=chances.hits("error", switches.error_after_success))
