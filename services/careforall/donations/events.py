"""Builds the events of this service out of its rows; one place, so that every event says the same of the same state."""

from datetime import UTC, datetime
from typing import Any

from careforall.contracts.donations import (
    CampaignCreated,
    CampaignEnded,
    CampaignUpdated,
    DonationCompleted,
    DonationCreated,
    DonationDisputed,
    DonationFailed,
    DonationRefunded,
    DonationSnapshot,
)
from careforall.donations.domain import Campaign, Donation, Step
from careforall.kit import outbox
from careforall.kit.context import NOBODY, Cause
from careforall.kit.envelope import Event
from careforall.kit.outbox import Outgoing

SOURCE = "donations"


def campaign_event(kind: type[CampaignCreated | CampaignUpdated | CampaignEnded], campaign: Campaign, cause: Cause) -> Outgoing:
    """Return an event about a campaign."""
    event = kind(
        campaign_id=campaign.id,
        title=campaign.title,
        goal=campaign.goal,
        currency=campaign.currency,
        status=campaign.status,
        starts_at=campaign.starts_at,
        ends_at=campaign.ends_at,
    )
    return outbox.outgoing(event, aggregate_id=campaign.id, aggregate_version=campaign.version, source=SOURCE, cause=cause)


def created(donation: Donation, cause: Cause) -> Outgoing:
    """Return the event of an accepted pledge."""
    event = DonationCreated(
        **_state(donation),
        **_person(donation),
        gateway=donation.gateway,
        created_at=donation.created_at,
        user_id=donation.user_id,
    )
    return _sealed(event, donation, cause)


def stepped(step: Step) -> Outgoing:
    """Return the event of a step."""
    donation, fact = step.donation, step.fact
    cause = Cause(correlation_id=fact.correlation_id, traceparent=fact.traceparent)
    return _sealed(_step_event(donation, step), donation, cause)


def snapshot(donation: Donation) -> Outgoing:
    """Return the present state as an event."""
    event = DonationSnapshot(**_state(donation), settled_at=donation.settled_at)
    return _sealed(event, donation, NOBODY)


def _step_event(donation: Donation, step: Step) -> Event:
    facts = {**_state(donation), **_person(donation)}
    if donation.status == "FAILED":
        return DonationFailed(**facts, reason=step.fact.reason)
    if step.from_status == "PENDING":
        return DonationCompleted(**facts, completed_at=donation.settled_at or datetime.now(UTC))
    if step.fact.kind == "disputed":
        return DonationDisputed(**_state(donation), disputed_at=step.fact.at)
    return DonationRefunded(**facts, refunded_at=step.fact.at)


def _sealed(event: Event, donation: Donation, cause: Cause) -> Outgoing:
    return outbox.outgoing(event, aggregate_id=donation.id, aggregate_version=donation.version, source=SOURCE, cause=cause)


def _state(donation: Donation) -> dict[str, Any]:
    return {
        "donation_id": donation.id,
        "campaign_id": donation.campaign_id,
        "intent_id": donation.intent_id,
        "amount": donation.amount,
        "currency": donation.currency,
        "status": donation.status,
        "donor_key": donation.donor_key,
        "anonymous": donation.anonymous,
        "refunded_amount": donation.refunded_amount,
        "disputed_amount": donation.disputed_amount,
    }


def _person(donation: Donation) -> dict[str, Any]:
    return {
        "donor_email": donation.donor_email,
        "donor_name": donation.donor_name,
        "campaign_title": donation.campaign_title,
    }
