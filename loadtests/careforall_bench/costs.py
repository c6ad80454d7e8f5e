"""What an operation costs the platform in processor time; scenarios tell it beside each rate.

It says what bounds the rate, and hardly changes when something else keeps the machine busy.
"""

from careforall_bench.instance import Platform

MICROSECONDS = 1e6


class Meter:
    """Counts processor time of the platform's parts from its making on."""

    def __init__(self, platform: Platform) -> None:
        self._launched = platform.launched
        self._before = self._launched.cpu_seconds()

    def told(self, operations: int) -> str:
        """Microseconds per operation by part, largest first."""
        after = self._launched.cpu_seconds()
        used = {name: seconds - self._before.get(name, 0) for name, seconds in after.items()}
        each = {name: seconds * MICROSECONDS / max(1, operations) for name, seconds in used.items()}
        ordered = sorted(each.items(), key=lambda item: -item[1])
        return "CPU each: " + ", ".join(f"{name} {micro:,.0f} us" for name, micro in ordered if micro >= 1)
