"""Who gives and buys in the demo: a few accounts, each with an address."""

import asyncio
import secrets
from typing import Any
from uuid import UUID

import msgspec

from careforall.accounts import repository
from careforall.accounts.domain import AddressFields
from careforall.contracts.addresses import Address
from careforall.kit.db import Database
from careforall.kit.ids import NIL
from careforall.kit.service import Parts

DONOR = "donor1@example.org"
_PEOPLE = (
    (DONOR, "Donor 1", "Berlin", "10115", "DE"),
    ("donor2@example.org", "Donor 2", "Hamburg", "20095", "DE"),
    ("donor3@example.org", "Donor 3", "Leipzig", "04109", "DE"),
    ("donor4@example.org", "Donor 4", "Vienna", "1010", "AT"),
    ("donor5@example.org", "Donor 5", "Graz", "8010", "AT"),
    ("donor6@example.org", "Donor 6", "Munich", "80331", "DE"),
)


class Buyer(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody with an account, and where parcels go."""

    user_id: UUID
    email: str
    address: Address


class People:
    """Makes the demo's accounts through the accounts service.

    Args:
        password: What all of them sign in with; without one, nobody can sign in as them.
    """

    def __init__(self, accounts: Parts, database: Database, password: str) -> None:
        self._accounts: Any = accounts.service
        self._database = database
        self._password = password

    async def buyers(self) -> list[Buyer]:
        """Make the accounts that are not there yet, and return all of them."""
        return list(await asyncio.gather(*(self._buyer(*person) for person in _PEOPLE)))

    async def staff(self) -> UUID:
        """Return who ships the orders: the first administrator."""
        admins = await self._accounts.staff.users(search="", role="ADMIN", status=None, after=None, limit=1)
        return admins[0].id if admins else NIL

    async def _buyer(self, email: str, name: str, city: str, postal_code: str, country: str) -> Buyer:
        user_id = await self._account(email)
        people = self._accounts.people
        known = await people.addresses(user_id)
        fields = AddressFields(
            type="SHIPPING",
            name=name,
            line1="Main street 1",
            line2="",
            city=city,
            region="",
            postal_code=postal_code,
            country=country,
            phone="",
            is_default=True,
        )
        address = (
            known[0] if known else await self._database.run(lambda connection: people.add_address(connection, user_id, fields))
        )
        [parcels_to] = (await people.addresses_for(user_id, [address.id])).addresses
        return Buyer(user_id=user_id, email=email, address=parcels_to)

    async def _account(self, email: str) -> UUID:
        if (known := await self._known(email)) is not None:
            return known
        await self._accounts.staff.create_person(email, self._password or secrets.token_urlsafe(24))
        made = await self._known(email)
        assert made is not None
        return made

    async def _known(self, email: str) -> UUID | None:
        async with self._database.connection() as connection:
            found = await repository.credentials(connection, email)
        return found.user_id if found is not None else None
