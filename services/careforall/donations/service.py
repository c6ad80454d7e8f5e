"""Use cases of campaigns and donations other than accepting gifts (see `giving`)."""

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from uuid import UUID

import msgspec
from msgspec import UNSET

from careforall.contracts.accounts import UserErased
from careforall.contracts.donations import (
    CampaignCreated,
    CampaignEnded,
    CampaignStatus,
    CampaignUpdated,
    DonationStatus,
    GiftStates,
    GiftStatesAsked,
)
from careforall.contracts.donor import normalised
from careforall.donations import domain, events, repository
from careforall.donations.domain import Campaign, Donation, PaymentFact, Step
from careforall.donations.errors import CampaignNotFound, DonationNotFound, IllegalTransition
from careforall.donations.giving import ROUTE, Giving
from careforall.donations.repository import Filter, HistoryRow
from careforall.donations.schemas import CampaignPatch, NewCampaign
from careforall.kit import idempotency, money, outbox
from careforall.kit.context import current
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Conflict, FieldError, InvalidInput, VersionConflict
from careforall.kit.http.answers import scope_of
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.kit.outbox import Outgoing
from careforall.kit.text import refuse_texts, text_error

_PUBLIC: tuple[CampaignStatus, ...] = ("LIVE", "PAUSED", "ENDED")
_EXPORT_PAGE = 1000


class UnknownIntent(Exception):
    """A payment event names an intent that no donation here has; it ends among the dead letters."""


class DonationsService:
    """What the API and the consumers call."""

    def __init__(self, database: Database, giving: Giving) -> None:
        self.giving = giving
        self.database = database

    async def create_campaign(self, connection: Connection, new: NewCampaign) -> Campaign:
        """Create a campaign in the caller's transaction."""
        now = datetime.now(UTC)
        campaign = _checked(
            Campaign(
                id=new_id(),
                title=new.title,
                story=new.story,
                goal=new.goal,
                currency=new.currency,
                status=new.status,
                starts_at=domain.zoned(new.starts_at, "/starts_at"),
                ends_at=domain.zoned(new.ends_at, "/ends_at"),
                suggested_amounts=list(new.suggested_amounts),
                minimum=new.minimum,
                maximum=new.maximum,
                version=1,
                created_at=now,
                updated_at=now,
            )
        )
        stored = await repository.insert_campaign(connection, campaign)
        await outbox.insert(connection, [events.campaign_event(CampaignCreated, stored, current())])
        return stored

    async def change_campaign(self, campaign_id: UUID, patch: CampaignPatch, version: int | None) -> Campaign:
        """Change a campaign; `version` is the one the caller has read, if they said."""

        async def work(connection: Connection) -> Campaign:
            found = await repository.campaign_for_update(connection, campaign_id)
            if found is None:
                raise CampaignNotFound
            if version is not None and version != found.version:
                raise VersionConflict(found.version)
            changed = await repository.update_campaign(connection, _patched(found, patch))
            kind = CampaignEnded if changed.status == "ENDED" and found.status != "ENDED" else CampaignUpdated
            await outbox.insert(connection, [events.campaign_event(kind, changed, current())])
            return changed

        return await self.database.run(work)

    async def campaign(self, campaign_id: UUID, viewer: Principal | None) -> Campaign:
        """Return a campaign; drafts are for staff."""
        async with self.database.connection() as connection:
            found = await repository.campaign(connection, campaign_id)
        if found is None or (found.status == "DRAFT" and not (viewer and viewer.is_admin)):
            raise CampaignNotFound
        return found

    async def campaigns(
        self, viewer: Principal | None, status: CampaignStatus | None, search: str, before: UUID | None, limit: int
    ) -> list[Campaign]:
        """Return campaigns, newest first; drafts are for staff."""
        allowed: Sequence[CampaignStatus] = (*_PUBLIC, "DRAFT") if viewer and viewer.is_admin else _PUBLIC
        wanted = [one for one in allowed if status is None or one == status]
        async with self.database.connection() as connection:
            return await repository.campaigns(connection, wanted, search, before, limit)

    async def donation(self, donation_id: UUID, viewer: Principal | None, receipt_token: str | None) -> Donation:
        """Return a gift to its giver, to staff, or to whoever holds its receipt token."""
        async with self.database.connection() as connection:
            found = await repository.donation(connection, donation_id)
        if found is None or not (self._may_see(found, viewer) or self.giving.holds_receipt(donation_id, receipt_token)):
            raise DonationNotFound
        return found

    async def history(
        self, donation_id: UUID, viewer: Principal | None, receipt_token: str | None
    ) -> tuple[Donation, list[HistoryRow]]:
        """Return every transition of a gift to whoever may see the gift."""
        found = await self.donation(donation_id, viewer, receipt_token)
        async with self.database.connection() as connection:
            return found, await repository.history(connection, donation_id)

    async def donations_of(self, mail: str, before: UUID | None, limit: int) -> list[Donation]:
        """Return the gifts of a mail, newest first; the caller has checked who asks."""
        async with self.database.connection() as connection:
            return await repository.donations_of_donor(connection, self.giving.donor_key(mail), before, limit)

    async def export(self, wanted: Filter) -> AsyncIterator[list[Donation]]:
        """Yield pages of donations in id order."""
        after: UUID | None = None
        while True:
            async with self.database.connection() as connection:
                page = await repository.export_page(connection, wanted, after, _EXPORT_PAGE)
            if not page:
                return
            yield page
            after = page[-1].id

    async def set_status(self, donation_id: UUID, status: DonationStatus, version: int, caller: str) -> Donation:
        """Take one legal step on the order of another service."""

        async def work(connection: Connection) -> Donation:
            found = await repository.donation_for_update(connection, donation_id)
            if found is None:
                raise DonationNotFound
            if version != found.version:
                raise VersionConflict(found.version)
            taken = domain.step(found, _ordered(found, status, caller))
            if taken is None:
                raise IllegalTransition(f"{found.status} has no step to {status}.")
            await _record(connection, [taken])
            return taken.donation

        return await self.database.run(work)

    async def apply(self, connection: Connection, facts: Sequence[PaymentFact]) -> None:
        """Apply payment facts to their donations in the caller's transaction."""
        found = await repository.donations_of_intents(connection, [fact.intent_id for fact in facts])
        if missing := [fact for fact in facts if fact.intent_id not in found]:
            raise UnknownIntent(f"no donation has the intent {missing[0].intent_id}")
        steps: list[Step] = []
        for fact in sorted(facts, key=lambda fact: (found[fact.intent_id].id, fact.version)):
            taken = domain.walk(found[fact.intent_id], fact)
            if taken:
                found[fact.intent_id] = taken[-1].donation
                steps += taken
        await _record(connection, steps)

    async def join_account(self, connection: Connection, mail: str, user_id: UUID) -> None:
        """Let the gifts of a proven mail show in its account."""
        await repository.note_verified(connection, self.giving.donor_key(mail), user_id)

    async def erase(self, connection: Connection, erased: UserErased) -> None:
        """Forget a donor in the caller's transaction, by account and by proved mail; the financial facts stay."""
        if erased.email:
            await idempotency.forget(connection, [scope_of(ROUTE, None, normalised(erased.email))])
        await repository.erase_donor(connection, erased.donor_key, erased.user_id)

    async def answer_states(self, payload: bytes) -> bytes:
        """Answer in which state the gifts of some intents are."""
        asked = msgspec.json.decode(payload, type=GiftStatesAsked)
        async with self.database.connection() as connection:
            states = await repository.states_of_intents(connection, asked.intent_ids)
        return msgspec.json.encode(GiftStates(states=states))

    async def snapshot(self, connection: Connection, after: UUID | None, limit: int) -> list[Outgoing]:
        """Return the present state of donations as events, for projections that start anew."""
        return [events.snapshot(donation) for donation in await repository.snapshot(connection, after, limit)]

    def _may_see(self, donation: Donation, viewer: Principal | None) -> bool:
        if viewer is None:
            return False
        owner = viewer.user_id == donation.user_id
        proven = viewer.email_verified and self.giving.donor_key(viewer.email) == donation.donor_key
        return viewer.is_admin or owner or proven


async def _record(connection: Connection, steps: Sequence[Step]) -> None:
    if steps:
        await repository.take_steps(connection, steps)
        await outbox.insert(connection, [events.stepped(step) for step in steps])


def _ordered(donation: Donation, status: DonationStatus, caller: str) -> PaymentFact:
    kinds = {"COMPLETED": "captured", "FAILED": "ended", "REFUNDED": "refunded"}
    if status not in kinds:
        raise IllegalTransition(f"{donation.status} has no step to {status}.")
    return PaymentFact(
        intent_id=donation.intent_id,
        event_id=new_id(),
        event_type=f"status ordered by {caller}",
        version=donation.payment_version,
        kind=kinds[status],  # type: ignore[arg-type]  # the values above are the Literal's
        at=datetime.now(UTC),
        total_refunded=donation.amount,
        correlation_id=current().correlation_id,
        traceparent=current().traceparent,
    )


def _patched(campaign: Campaign, patch: CampaignPatch) -> Campaign:
    fields = {name: getattr(patch, name) for name in patch.__struct_fields__ if name != "version"}
    changes = {name: value for name, value in fields.items() if value is not UNSET}
    status = changes.get("status", campaign.status)
    if status != campaign.status and status not in domain.CAMPAIGN_STEPS[campaign.status]:
        raise Conflict(f"A campaign cannot go from {campaign.status} to {status}.")
    for name in ("starts_at", "ends_at"):
        if name in changes:
            changes[name] = domain.zoned(changes[name], f"/{name}")
    changed = msgspec.structs.replace(campaign, **changes, version=campaign.version + 1)
    return _checked(changed)


def _checked(campaign: Campaign) -> Campaign:
    """Return the campaign with exact amounts.

    Raises:
        InvalidInput: Naming every field at fault.
    """
    refuse_texts(text_error("/title", campaign.title, limit=200), text_error("/story", campaign.story, limit=20_000, lines=True))
    errors: list[FieldError] = []
    amounts = {
        "goal": _amount(campaign.goal, campaign.currency, "/goal", errors),
        "minimum": _amount(campaign.minimum, campaign.currency, "/minimum", errors),
        "maximum": _amount(campaign.maximum, campaign.currency, "/maximum", errors),
        "suggested_amounts": [
            _amount(amount, campaign.currency, f"/suggested_amounts/{index}", errors)
            for index, amount in enumerate(campaign.suggested_amounts)
        ],
    }
    if campaign.starts_at and campaign.ends_at and campaign.starts_at >= campaign.ends_at:
        errors.append(FieldError(pointer="/ends_at", code="before_start", message="the end must be after the start"))
    if campaign.minimum is not None and campaign.maximum is not None and campaign.minimum > campaign.maximum:
        errors.append(FieldError(pointer="/maximum", code="below_minimum", message="the maximum is below the minimum"))
    if errors:
        raise InvalidInput(errors[0].message, errors=errors)
    return msgspec.structs.replace(campaign, **amounts)


def _amount(amount: Decimal | None, currency: str, pointer: str, errors: list[FieldError]) -> Decimal | None:
    if amount is None:
        return None
    try:
        return money.parse_amount(amount, currency)
    except money.MoneyError as error:
        where = "/currency" if error.code == "unknown_currency" else pointer
        errors.append(FieldError(pointer=where, code=error.code, message=str(error)))
        return None
