"""Accepting donations: the busiest write of the platform, a batch from the first line.

A pledge is checked alone, then written with its neighbours by one statement: it locks the campaigns, claims the idempotency keys
and inserts donations, history and events of what is new. Campaigns are judged by their last known version, which the statement
compares; what does not fit (a repeat, a campaign changed or never seen, a refusal) is left to the transaction, which reads.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from careforall.contracts.donor import DonorKeys, normalised
from careforall.donations import domain, events, repository, repository_giving
from careforall.donations.domain import Campaign, Donation
from careforall.donations.errors import CampaignNotFound, CampaignNotOpen
from careforall.donations.metrics import CreatedCounter
from careforall.donations.schemas import DonationCreatedOut, IntentRef, NewDonation
from careforall.kit import json, money, secrets
from careforall.kit.batch import LEFT, Busy, GroupCommit, Left
from careforall.kit.context import Cause
from careforall.kit.db import Connection, Database
from careforall.kit.errors import IdempotencyKeyReused, InvalidInput, Problem
from careforall.kit.http.identity import Principal
from careforall.kit.idempotency import Answer, Call
from careforall.kit.ids import new_id
from careforall.kit.text import refuse_texts, text_error

ROUTE = "POST /donations"
_CREATED = 201
_MAIL = re.compile(r"[^@\s,;<>\"()\[\]\\]{1,64}@[^@\s,;<>\"()\[\]\\.]+(?:\.[^@\s,;<>\"()\[\]\\.]+)+")
_EXTRA_LIMIT = 8 * 1024
_MOST_CAMPAIGNS = 10_000
"""Campaigns kept in mind; only bounds memory."""


class Pledge(msgspec.Struct, frozen=True):
    """A checked gift on its way into a batch."""

    donation_id: UUID
    intent_id: UUID
    new: NewDonation
    gateway: str
    donor_email: str
    donor_key: str
    user_id: UUID | None
    extra: msgspec.Raw | None
    cause: Cause
    call: Call | None
    at: datetime


class Giving:
    """Accepts donations in shared transactions."""

    def __init__(self, database: Database, *, secret_key: str, default_gateway: str, batch_size: int, flights: int) -> None:
        self._default_gateway = default_gateway
        self._donor_keys = DonorKeys(secret_key)
        self._receipt_key = secrets.derive(secret_key, "receipt token")
        self._batch: GroupCommit[Pledge, Answer] = GroupCommit(
            "donations", database, self._write, swift=self._write_at_once, max_batch=batch_size, flights=flights
        )
        self._campaigns: dict[UUID, Campaign] = {}
        self._created = CreatedCounter()

    async def give(self, new: NewDonation, *, giver: Principal | None, call: Call | None, cause: Cause) -> Answer:
        """Accept a gift and return the finished answer, or the stored one of a repeat."""
        pledge = self._pledge(new, giver, call, cause)
        if call is None:
            answer = await self._batch.submit(pledge, key=str(pledge.donation_id))
        else:
            answer = await self._batch.submit(pledge, key=f"{call.scope}\0{call.key}", fingerprint=call.fingerprint)
        if str(pledge.donation_id).encode() in answer.body:  # a repeat is answered with the gift that was there first
            self._created.count(new.campaign_id)
        return answer

    async def drain(self) -> None:
        """Wait until every accepted gift is answered."""
        await self._batch.drain()

    def receipt_token(self, donation_id: UUID) -> str:
        """Return the token that shows a guest their own gift (rule 21)."""
        return secrets.sign(self._receipt_key, donation_id.bytes)

    def holds_receipt(self, donation_id: UUID, token: str | None) -> bool:
        """Whether a token is the receipt token of a donation."""
        return token is not None and secrets.same(token, self.receipt_token(donation_id))

    def donor_key(self, mail: str) -> str:
        """Return the keyed hash of a mail."""
        return self._donor_keys.of(mail)

    def _pledge(self, new: NewDonation, giver: Principal | None, call: Call | None, cause: Cause) -> Pledge:
        mail = normalised(new.donor_email)
        if not _MAIL.fullmatch(mail) or not mail.isprintable():
            raise InvalidInput.field("/donor_email", "invalid_email", "write a mail address such as you@example.org")
        refuse_texts(
            text_error("/donor_name", new.donor_name, limit=100), text_error("/message", new.message, limit=1000, lines=True)
        )
        return Pledge(
            new_id(),
            new_id(),
            new,
            new.gateway or self._default_gateway,
            mail,
            self._donor_keys.of(mail),
            giver.user_id if giver else None,
            _extra(new),
            cause,
            call,
            datetime.now(UTC),
        )

    async def _write_at_once(self, connection: Connection, pledges: Sequence[Pledge]) -> Sequence[Answer | Left]:
        """Write what is new for campaigns that are as we know them; see the module's docstring."""
        now = datetime.now(UTC)
        found = [self._judged(pledge, now) for pledge in pledges]
        gifts = [gift for gift in found if gift is not None]
        written = await repository_giving.give(connection, gifts) if gifts else set()
        return [
            Answer(status=_CREATED, body=gift.answer) if gift is not None and gift.donation.id in written else LEFT
            for gift in found
        ]

    def _judged(self, pledge: Pledge, now: datetime) -> repository_giving.Gift | None:
        """Return what a pledge makes, or None where only the database's own campaign may decide."""
        campaign = self._campaigns.get(pledge.new.campaign_id)
        if campaign is None:
            return None
        try:
            donation = _accept(pledge, campaign, now)
        except Problem:
            return None
        return repository_giving.Gift(
            donation=donation,
            campaign_version=campaign.version,
            event=events.created(donation, pledge.cause),
            call=pledge.call,
            answer=self._body(donation),
        )

    def _remember(self, campaigns: Mapping[UUID, Campaign]) -> None:
        if len(self._campaigns) > _MOST_CAMPAIGNS:
            self._campaigns.clear()
        self._campaigns.update(campaigns)

    async def _write(self, connection: Connection, pledges: Sequence[Pledge]) -> Sequence[Answer | Exception | Busy]:
        """Write a batch under the campaigns' locks, each step a statement of its own."""
        outcomes: dict[UUID, Answer | Exception] = {}
        fresh = await self._claim(connection, pledges, outcomes)
        campaigns = await repository.share_campaigns(connection, [pledge.new.campaign_id for pledge in fresh])
        self._remember(campaigns)
        now = datetime.now(UTC)
        accepted: list[Donation] = []
        told = []
        for pledge in fresh:
            try:
                donation = _accept(pledge, campaigns.get(pledge.new.campaign_id), now)
            except Problem as refusal:
                outcomes[pledge.donation_id] = refusal
                continue
            accepted.append(donation)
            told.append(events.created(donation, pledge.cause))
            outcomes[pledge.donation_id] = Answer(status=_CREATED, body=self._body(donation))
        if accepted:
            await repository.insert_donations(connection, accepted, told)
        await _settle_keys(connection, fresh, outcomes)
        return [outcomes[pledge.donation_id] for pledge in pledges]

    async def _claim(
        self, connection: Connection, pledges: Sequence[Pledge], outcomes: dict[UUID, Answer | Exception]
    ) -> Sequence[Pledge]:
        """Claim the batch's keys; losers get the stored answer, the rest is returned."""
        keyed = [(pledge, pledge.call) for pledge in pledges if pledge.call is not None]
        if not keyed:
            return pledges
        won = await repository_giving.claim_keys(connection, [(call.scope, call.key, call.fingerprint) for _, call in keyed])
        lost = [(pledge, call) for pledge, call in keyed if (call.scope, call.key) not in won]
        if not lost:
            return pledges
        stored = await repository_giving.touch_keys(connection, [(call.scope, call.key) for _, call in lost])
        for pledge, call in lost:
            row = stored.get((call.scope, call.key))
            same = row is not None and row["fingerprint"] == call.fingerprint
            outcomes[pledge.donation_id] = (
                Answer(status=row["status"], body=row["body"], replayed=True) if same and row else IdempotencyKeyReused()
            )
        return [pledge for pledge in pledges if pledge.donation_id not in outcomes]

    def _body(self, donation: Donation) -> bytes:
        return json.encode(
            DonationCreatedOut(
                id=donation.id,
                campaign_id=donation.campaign_id,
                status=donation.status,
                amount=money.show(donation.amount, donation.currency),
                currency=donation.currency,
                payment_intent=IntentRef(id=donation.intent_id, pay_url=f"/pay/{donation.intent_id}"),
                receipt_token=self.receipt_token(donation.id),
                created_at=donation.created_at,
            )
        )


def _accept(pledge: Pledge, campaign: Campaign | None, now: datetime) -> Donation:
    if campaign is None:
        raise CampaignNotFound
    if not campaign.is_open(now):
        raise CampaignNotOpen(status_of_campaign=campaign.status)
    new = pledge.new
    return Donation(
        id=pledge.donation_id,
        campaign_id=campaign.id,
        intent_id=pledge.intent_id,
        donor_email=pledge.donor_email,
        donor_key=pledge.donor_key,
        donor_name=new.donor_name,
        user_id=pledge.user_id,
        anonymous=new.anonymous,
        message=new.message,
        amount=domain.accepted_amount(campaign, new.amount, new.currency),
        refunded_amount=money.LIMIT * 0,
        currency=campaign.currency,
        gateway=pledge.gateway,
        status="PENDING",
        version=1,
        payment_version=0,
        extra_data=pledge.extra,
        created_at=pledge.at,
        updated_at=pledge.at,
        settled_at=None,
        campaign_title=campaign.title,
    )


async def _settle_keys(connection: Connection, fresh: Sequence[Pledge], outcomes: dict[UUID, Answer | Exception]) -> None:
    """Store the answers of claimed keys, and free those whose request was refused."""
    answered: list[tuple[str, str, int, bytes]] = []
    refused: list[tuple[str, str]] = []
    for pledge in fresh:
        if pledge.call is None:
            continue
        outcome = outcomes[pledge.donation_id]
        if isinstance(outcome, Answer):
            answered.append((pledge.call.scope, pledge.call.key, outcome.status, outcome.body))
        else:
            refused.append((pledge.call.scope, pledge.call.key))
    if answered:
        await repository_giving.store_answers(connection, answered)
    if refused:
        await repository_giving.forget_keys(connection, refused)


def _extra(new: NewDonation) -> msgspec.Raw | None:
    if new.extra_data is None:
        return None
    encoded = json.encode(new.extra_data)
    if len(encoded) > _EXTRA_LIMIT or b"\\u0000" in encoded:
        raise InvalidInput.field("/extra_data", "too_long", f"at most {_EXTRA_LIMIT} bytes of JSON without NUL characters")
    return msgspec.Raw(encoded)
