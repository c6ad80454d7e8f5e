"""HTTP shapes of customers. Input forbids unknown fields."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

EmailIn = Annotated[str, Meta(max_length=320, description="Compared without regard to case; unique among customers.")]
NameIn = Annotated[str, Meta(max_length=200)]
MetadataIn = Annotated[
    dict[str, str], Meta(max_length=40, description="At most 40 short texts (500) under short names (40), mirrored as they are.")
]


class NewCustomer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make a customer."""

    email: EmailIn
    name: NameIn = ""
    metadata: MetadataIn = {}


class CustomerPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a customer; absent fields stay, `metadata` is replaced as a whole. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    email: EmailIn | UnsetType = UNSET
    name: NameIn | UnsetType = UNSET
    metadata: MetadataIn | UnsetType = UNSET


class CustomerOut(msgspec.Struct, frozen=True, kw_only=True):
    """A customer. `external_ids` names the mirror image at each target, once it is there."""

    id: UUID
    email: str
    name: str
    metadata: dict[str, str]
    external_ids: dict[str, str]
    version: int
    created_at: datetime
    updated_at: datetime


class InboundOut(msgspec.Struct, frozen=True, kw_only=True):
    """What became of an event."""

    status: Literal["processed", "ignored"]
    reason: str | None = None
