"""What the worker asks of a target. Every call tells its outcome and never raises; keys make repeats harmless."""

from typing import Protocol
from uuid import UUID

from careforall.sync.domain import Call, Outcome


class Target(Protocol):
    """One company that keeps a mirror image of each customer."""

    @property
    def name(self) -> str:
        """Its name in settings, rows and `external_ids`."""
        ...

    async def make(self, customer_id: UUID, call: Call, external_id: str | None) -> Outcome:
        """Create, change or delete the image of a customer, under the call's key."""
        ...

    async def look(self, customer_id: UUID, call: Call) -> Outcome:
        """Find what a call without a usable key has created: `Done` with its name, `Spent` where there is nothing."""
        ...

    async def close(self) -> None:
        """Close connections."""
        ...
