"""Who buys in a drill: people with tokens under the instance's own key, one each, so that nobody's limits are in the way.

Signing up and in costs a processor a good fiftieth of a second by design, and is no part of what these drills press.
"""

from __future__ import annotations

from datetime import UTC, datetime

from careforall.accounts.domain import User
from careforall.accounts.signing import Signing
from careforall.kit.ids import new_id


class People:
    """Makes people who are signed in.

    Args:
        signing: Issues access tokens of the instance.
    """

    def __init__(self, signing: Signing) -> None:
        self._signing = signing

    async def tokens(self, number: int) -> list[str]:
        """Access tokens of so many people nobody has seen before."""
        return [await self._signing.token(_somebody()) for _ in range(number)]

    async def signed_in(self) -> dict[str, str]:
        """The headers of one more."""
        return bearer((await self.tokens(1))[0])


def bearer(token: str) -> dict[str, str]:
    """The headers that send a token along."""
    return {"Authorization": f"Bearer {token}"}


def _somebody() -> User:
    identifier, now = new_id(), datetime.now(UTC)
    return User(
        id=identifier,
        email=f"buyer-{identifier.hex}@example.org",
        first_name="",
        last_name="",
        phone="",
        role="USER",
        status="ACTIVE",
        email_verified_at=now,
        version=1,
        created_at=now,
        updated_at=now,
    )
