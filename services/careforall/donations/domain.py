"""Rules of giving without I/O: states, steps, what a campaign accepts, what a payment event means to a donation."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from careforall.contracts.donations import CampaignStatus, DonationStatus
from careforall.kit import moments, money
from careforall.kit.errors import InvalidInput

LEGAL_STEPS: Mapping[DonationStatus, frozenset[DonationStatus]] = {
    "PENDING": frozenset({"COMPLETED", "FAILED"}),
    "COMPLETED": frozenset({"REFUNDED"}),
    "FAILED": frozenset(),
    "REFUNDED": frozenset(),
}
"""The state machine of a donation; the database enforces the same steps."""

_PAID: frozenset[DonationStatus] = frozenset({"COMPLETED", "REFUNDED"})

CAMPAIGN_STEPS: Mapping[CampaignStatus, frozenset[CampaignStatus]] = {
    "DRAFT": frozenset({"LIVE", "ENDED"}),
    "LIVE": frozenset({"PAUSED", "ENDED"}),
    "PAUSED": frozenset({"LIVE", "ENDED"}),
    "ENDED": frozenset(),
}


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """A cause that collects donations."""

    id: UUID
    title: str
    story: str
    goal: Decimal
    currency: str
    status: CampaignStatus
    starts_at: datetime | None
    ends_at: datetime | None
    suggested_amounts: list[Decimal]
    minimum: Decimal | None
    maximum: Decimal | None
    version: int
    created_at: datetime
    updated_at: datetime

    def is_open(self, now: datetime) -> bool:
        """Whether it takes donations at `now`."""
        started = self.starts_at is None or self.starts_at <= now
        return self.status == "LIVE" and started and (self.ends_at is None or now < self.ends_at)


class Donation(msgspec.Struct, frozen=True, kw_only=True):
    """A gift as stored."""

    id: UUID
    campaign_id: UUID
    intent_id: UUID
    donor_email: str
    donor_key: str
    donor_name: str
    user_id: UUID | None
    anonymous: bool
    message: str
    amount: Decimal
    refunded_amount: Decimal
    currency: str
    gateway: str
    status: DonationStatus
    version: int
    payment_version: int
    extra_data: msgspec.Raw | None
    created_at: datetime
    updated_at: datetime
    settled_at: datetime | None
    campaign_title: str = ""
    disputed_amount: Decimal = Decimal(0)
    dispute_version: int = 0
    """Version of the payment that last told of a dispute."""

    @property
    def net_amount(self) -> Decimal:
        """What stays with the cause."""
        return self.amount - self.refunded_amount - self.disputed_amount


Kind = Literal["captured", "ended", "refunded", "disputed"]


class PaymentFact(msgspec.Struct, frozen=True, kw_only=True):
    """What one payment event says about an intent, reduced to what matters here."""

    intent_id: UUID
    event_id: UUID
    event_type: str
    version: int
    kind: Kind
    at: datetime
    total_refunded: Decimal = Decimal(0)
    total_disputed: Decimal = Decimal(0)
    retold: bool = False
    """Said by a snapshot, which says nothing new where the amount is the one we have."""
    reason: str = ""
    correlation_id: str = ""
    traceparent: str | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One recorded step of a donation, with its cause."""

    donation: Donation
    """The donation after the step."""
    from_status: DonationStatus
    fact: PaymentFact


def accepted_amount(campaign: Campaign, amount: Decimal | str, currency: str | None) -> Decimal:
    """Return the amount a campaign accepts.

    Raises:
        InvalidInput: With pointer /amount or /currency.
    """
    if currency is not None:
        _check_currency(campaign, currency)
    try:
        exact = money.parse_amount(amount, campaign.currency)
    except money.MoneyError as error:
        raise InvalidInput.field("/amount", error.code, str(error)) from error
    if campaign.minimum is not None and exact < campaign.minimum:
        raise InvalidInput.field("/amount", "below_minimum", f"the minimum is {_shown(campaign, campaign.minimum)}")
    if campaign.maximum is not None and exact > campaign.maximum:
        raise InvalidInput.field("/amount", "above_maximum", f"the maximum is {_shown(campaign, campaign.maximum)}")
    return exact


def zoned(moment: datetime | None, pointer: str) -> datetime | None:
    """Return a moment that says its zone, in UTC.

    Raises:
        InvalidInput: With this pointer.
    """
    try:
        return moments.in_utc(moment) if moment is not None else None
    except moments.MomentError as error:
        raise InvalidInput.field(pointer, error.code, str(error)) from error


def _shown(campaign: Campaign, amount: Decimal) -> str:
    return f"{money.show(amount, campaign.currency)} {campaign.currency}"


def _check_currency(campaign: Campaign, currency: str) -> None:
    try:
        money.exponent(currency)
    except money.MoneyError as error:
        raise InvalidInput.field("/currency", error.code, str(error)) from error
    if currency != campaign.currency:
        raise InvalidInput.field("/currency", "foreign_currency", f"this campaign collects {campaign.currency}")


def step(donation: Donation, fact: PaymentFact) -> Step | None:
    """Return what a payment fact makes of a donation, or None where it changes nothing.

    Facts carry absolute amounts and may come in any order: money that went back before we heard of the capture completes the
    donation first (see `walk`); an ended intent never undoes a completed donation. What is disputed may fall again, so there the
    version decides which fact is newer; the status never changes by it.
    """
    match fact.kind:
        case "captured" if donation.status == "PENDING":
            after = msgspec.structs.replace(donation, status="COMPLETED", settled_at=fact.at)
        case "ended" if donation.status == "PENDING":
            after = msgspec.structs.replace(donation, status="FAILED", settled_at=fact.at)
        case "refunded" if donation.status == "COMPLETED" and fact.total_refunded > donation.refunded_amount:
            refunded = min(fact.total_refunded, donation.amount)
            status: DonationStatus = "REFUNDED" if refunded == donation.amount else "COMPLETED"
            after = msgspec.structs.replace(donation, status=status, refunded_amount=refunded)
        case "disputed" if donation.status in _PAID and _tells_of_dispute(donation, fact):
            disputed = min(fact.total_disputed, donation.amount)
            after = msgspec.structs.replace(donation, disputed_amount=disputed, dispute_version=fact.version)
        case _:
            return None
    return Step(donation=_next_version(after, fact), from_status=donation.status, fact=fact)


def walk(donation: Donation, fact: PaymentFact) -> list[Step]:
    """Return all legal steps from a donation to what a fact says, walking those between (rule 5)."""
    steps: list[Step] = []
    if fact.kind in {"refunded", "disputed"} and donation.status == "PENDING":
        captured = step(donation, msgspec.structs.replace(fact, kind="captured"))
        steps += [captured] if captured else []
    last = step(steps[-1].donation if steps else donation, fact)
    return [*steps, last] if last else steps


def _tells_of_dispute(donation: Donation, fact: PaymentFact) -> bool:
    known = fact.retold and fact.total_disputed == donation.disputed_amount
    return fact.version > donation.dispute_version and not known


def _next_version(donation: Donation, fact: PaymentFact) -> Donation:
    return msgspec.structs.replace(
        donation, version=donation.version + 1, payment_version=max(donation.payment_version, fact.version)
    )
