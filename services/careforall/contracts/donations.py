"""Events of the donations service. Amounts are absolute, `status` is the state after the event (rule 5)."""

from datetime import datetime
from decimal import Decimal
from typing import ClassVar, Literal
from uuid import UUID

from careforall.kit.envelope import Event

DonationStatus = Literal["PENDING", "COMPLETED", "FAILED", "REFUNDED"]
CampaignStatus = Literal["DRAFT", "LIVE", "PAUSED", "ENDED"]


class _Campaign(Event, frozen=True, kw_only=True):
    campaign_id: UUID
    title: str
    goal: Decimal
    currency: str
    status: CampaignStatus
    starts_at: datetime | None = None
    ends_at: datetime | None = None


class CampaignCreated(_Campaign, frozen=True, kw_only=True):
    """A campaign exists."""

    SUBJECT: ClassVar[str] = "campaigns.created"


class CampaignUpdated(_Campaign, frozen=True, kw_only=True):
    """A campaign changed."""

    SUBJECT: ClassVar[str] = "campaigns.updated"


class CampaignEnded(_Campaign, frozen=True, kw_only=True):
    """A campaign takes no more donations."""

    SUBJECT: ClassVar[str] = "campaigns.ended"


class _Donation(Event, frozen=True, kw_only=True):
    """State of a donation. `donor_key` is a keyed hash of the mail; names travel only to whoever writes to the donor."""

    donation_id: UUID
    campaign_id: UUID
    intent_id: UUID
    amount: Decimal
    currency: str
    status: DonationStatus
    donor_key: str
    anonymous: bool = False
    refunded_amount: Decimal = Decimal(0)
    disputed_amount: Decimal = Decimal(0)


class DonationCreated(_Donation, frozen=True, kw_only=True):
    """A pledge was accepted; payments makes its intent."""

    SUBJECT: ClassVar[str] = "donations.created"

    donor_email: str
    donor_name: str = ""
    campaign_title: str = ""
    gateway: str = "simulator"
    created_at: datetime
    user_id: UUID | None = None


class DonationCompleted(_Donation, frozen=True, kw_only=True):
    """The money was captured."""

    SUBJECT: ClassVar[str] = "donations.completed"

    donor_email: str
    donor_name: str = ""
    campaign_title: str = ""
    completed_at: datetime


class DonationFailed(_Donation, frozen=True, kw_only=True):
    """The intent ended without money."""

    SUBJECT: ClassVar[str] = "donations.failed"

    donor_email: str
    donor_name: str = ""
    campaign_title: str = ""
    reason: str = ""


class DonationRefunded(_Donation, frozen=True, kw_only=True):
    """Money went back: partly (status stays COMPLETED) or all of it (REFUNDED). `refunded_amount` is the total so far."""

    SUBJECT: ClassVar[str] = "donations.refunded"

    donor_email: str
    donor_name: str = ""
    campaign_title: str = ""
    refunded_at: datetime


class DonationDisputed(_Donation, frozen=True, kw_only=True):
    """The payer's bank disputes the gift, or decided: `disputed_amount` is what it holds back or took. The status stays."""

    SUBJECT: ClassVar[str] = "donations.disputed"

    disputed_at: datetime


class DonationSnapshot(_Donation, frozen=True, kw_only=True):
    """The present state, sent again for projections; nobody writes to donors because of it."""

    SUBJECT: ClassVar[str] = "donations.snapshot"

    settled_at: datetime | None = None
