"""HTTP shapes of campaigns and donations. Input forbids unknown fields; amounts are decimal strings (numbers are accepted)."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.contracts.donations import CampaignStatus, DonationStatus

AmountIn = Annotated[Decimal, Meta(description='Decimal string such as "25.00"; numbers are accepted.')]
AmountOut = Annotated[str, Meta(description="Decimal string with the currency's places.")]
CurrencyIn = Annotated[str, Meta(min_length=3, max_length=3, description="ISO 4217, upper case.")]


class NewCampaign(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Create a campaign."""

    title: Annotated[str, Meta(min_length=1, max_length=200)]
    goal: AmountIn
    currency: CurrencyIn
    story: Annotated[str, Meta(max_length=20_000)] = ""
    status: CampaignStatus = "DRAFT"
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    suggested_amounts: Annotated[list[AmountIn], Meta(max_length=10)] = []
    minimum: AmountIn | None = None
    maximum: AmountIn | None = None


class CampaignPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change a campaign; absent fields stay. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    title: Annotated[str, Meta(min_length=1, max_length=200)] | UnsetType = UNSET
    story: Annotated[str, Meta(max_length=20_000)] | UnsetType = UNSET
    goal: AmountIn | UnsetType = UNSET
    status: CampaignStatus | UnsetType = UNSET
    starts_at: datetime | None | UnsetType = UNSET
    ends_at: datetime | None | UnsetType = UNSET
    suggested_amounts: Annotated[list[AmountIn], Meta(max_length=10)] | UnsetType = UNSET
    minimum: AmountIn | None | UnsetType = UNSET
    maximum: AmountIn | None | UnsetType = UNSET


class CampaignOut(msgspec.Struct, frozen=True, kw_only=True):
    """A campaign."""

    id: UUID
    title: str
    story: str
    goal: AmountOut
    currency: str
    status: CampaignStatus
    starts_at: datetime | None
    ends_at: datetime | None
    suggested_amounts: list[AmountOut]
    minimum: AmountOut | None
    maximum: AmountOut | None
    version: int
    created_at: datetime
    updated_at: datetime
    progress: "Progress | None" = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """How far a campaign has come, by what donations knows; live totals are the totals service's."""

    raised: AmountOut
    donations: int
    percent: float


class NewDonation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Give to a campaign."""

    campaign_id: UUID
    donor_email: Annotated[str, Meta(min_length=3, max_length=254)]
    amount: AmountIn
    currency: CurrencyIn | None = None
    gateway: Annotated[str, Meta(pattern="^[a-z]{2,20}(?!\\n)$")] | None = None
    donor_name: Annotated[str, Meta(max_length=100)] = ""
    anonymous: bool = False
    message: Annotated[str, Meta(max_length=1000)] = ""
    extra_data: Annotated[dict[str, Any], Meta(max_length=50)] | None = None


class IntentRef(msgspec.Struct, frozen=True, kw_only=True):
    """Where to pay."""

    id: UUID
    pay_url: str


class DonationCreatedOut(msgspec.Struct, frozen=True, kw_only=True):
    """The accepted gift. Keep `receipt_token`: it shows a guest their own gift."""

    id: UUID
    campaign_id: UUID
    status: DonationStatus
    amount: AmountOut
    currency: str
    payment_intent: IntentRef
    receipt_token: str
    created_at: datetime


class DonationOut(msgspec.Struct, frozen=True, kw_only=True):
    """A gift as its giver or staff see it."""

    id: UUID
    campaign_id: UUID
    campaign_title: str
    status: DonationStatus
    amount: AmountOut
    refunded_amount: AmountOut
    disputed_amount: AmountOut
    currency: str
    donor_email: str
    donor_name: str
    anonymous: bool
    message: str
    payment_intent: IntentRef
    version: int
    extra_data: Any
    created_at: datetime
    updated_at: datetime


class HistoryEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One transition; `from` is null for the pledge itself."""

    from_status: DonationStatus | None = msgspec.field(name="from")
    to_status: DonationStatus = msgspec.field(name="to")
    cause: str
    event_id: UUID | None
    refunded_amount: AmountOut
    disputed_amount: AmountOut
    version: int
    time: datetime


class StatusPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A step ordered by another service."""

    status: DonationStatus
    version: int
