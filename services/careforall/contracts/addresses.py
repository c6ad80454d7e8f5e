"""What a checkout asks of accounts about the addresses of its buyer."""

from uuid import UUID

import msgspec

ADDRESSES = "query.accounts.addresses"
"""Request subject: `AddressesAsked` to `Addresses`."""


class AddressesAsked(msgspec.Struct, frozen=True, kw_only=True):
    """Which of a user's addresses; another's are left out."""

    user_id: UUID
    address_ids: list[UUID]


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a parcel or an invoice goes."""

    address_id: UUID
    name: str
    line1: str
    line2: str = ""
    city: str
    region: str = ""
    postal_code: str = ""
    country: str


class Addresses(msgspec.Struct, frozen=True, kw_only=True):
    """Those that were found, with the buyer's mail for the receipt."""

    email: str = ""
    addresses: list[Address] = []
