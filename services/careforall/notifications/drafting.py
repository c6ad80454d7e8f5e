"""Puts events into words: which messages an event causes, for whom, and what they say. Pure."""

import unicodedata
from collections.abc import Mapping
from decimal import Decimal
from uuid import UUID

import msgspec

from careforall.contracts.accounts import EmailVerificationRequested, PasswordResetRequested, UserRegistered
from careforall.contracts.donations import DonationCompleted, DonationCreated, DonationFailed, DonationRefunded
from careforall.contracts.orders import OrderCancelled, OrderConfirmed, OrderCreated, OrderRefunded, OrderShipped
from careforall.kit import money
from careforall.kit.envelope import Message
from careforall.notifications.domain import AccountEvent, DonationEvent, Draft, Language, OrderEvent, Person

_LEADS_SOMEWHERE = ("://", "www.", "@")


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """What drafting needs to know beyond the event."""

    public_url: str
    webhook_url: str
    default_language: Language
    pledge_mails_per_hour: int = 10


def donation_drafts(
    message: Message[DonationEvent], people: Mapping[str, Person], unverified: Mapping[UUID, Person], setting: Setting
) -> list[Draft]:
    """Return the messages that a donation event causes.

    Args:
        message: The event.
        people: Owners of verified mails, by mail in lower case.
        unverified: Accounts by user id, for gifts made while signed in.
        setting: Where links and webhooks point.
    """
    event = message.event
    owner = people.get(event.donor_email.lower()) or _giver(event, unverified)
    mail = _mail(message, owner, setting, limited=_is_anybodys(event, people))
    drafts = [mail] if "@" in event.donor_email else []  # whose giver was forgotten has none any more
    if owner is not None and owner.in_app:
        drafts.append(msgspec.structs.replace(mail, channel="IN_APP", recipient=str(owner.user_id), limited=False))
    if setting.webhook_url:
        drafts.append(_hook(mail, setting, public_payload(message)))
    return drafts


def order_drafts(message: Message[OrderEvent], accounts: Mapping[UUID, Person], setting: Setting) -> list[Draft]:
    """Return the messages that an order's event causes; the buyer of an order may have been forgotten.

    Args:
        message: The event.
        accounts: Buyers by user id.
        setting: Where links and webhooks point.
    """
    event, buyer = message.event, accounts.get(message.event.user_id)
    recipient = event.email or (buyer.email if buyer else "")
    mail = Draft(
        cause_event_id=message.event_id,
        subject_id=event.order_id,
        template=order_template_of(event),
        channel="EMAIL",
        recipient=recipient,
        language=(buyer.language if buyer else None) or setting.default_language,
        payload=_buyer_payload(event, setting),
        fact=_order_fact_of(event),
        user_id=event.user_id,
    )
    drafts = [mail] if recipient else []
    if buyer is not None and buyer.in_app:
        drafts.append(msgspec.structs.replace(mail, channel="IN_APP", recipient=str(buyer.user_id)))
    if setting.webhook_url:
        facts = _public_order(message)
        drafts.append(_hook(mail, setting, facts))
    return drafts


def account_draft(message: Message[AccountEvent], people: Mapping[UUID, Person], setting: Setting) -> Draft | None:
    """Return the mail with somebody's link: to prove their mail, at sign-up and when they ask again, or to choose a password."""
    event = message.event
    if not isinstance(event, UserRegistered | EmailVerificationRequested | PasswordResetRequested):
        return None
    person = people.get(event.user_id)
    return Draft(
        cause_event_id=message.event_id,
        subject_id=event.user_id,
        template="password_reset" if isinstance(event, PasswordResetRequested) else "welcome",
        channel="EMAIL",
        recipient=event.email,
        language=(person.language if person else None) or setting.default_language,
        payload=_account_payload(event),
        fact=f"welcome:{event.user_id}" if isinstance(event, UserRegistered) else None,
        user_id=event.user_id,
    )


def template_of(event: DonationEvent) -> str:
    """Return the name of the template that tells of a donation event."""
    match event:
        case DonationCreated():
            return "donation_received"
        case DonationCompleted():
            return "donation_completed"
        case DonationFailed():
            return "donation_failed"
        case DonationRefunded():
            return "donation_refunded"


def order_template_of(event: OrderEvent) -> str:
    """Return the name of the template that tells of an order's event."""
    match event:
        case OrderCreated():
            return "order_received"
        case OrderConfirmed():
            return "order_confirmed"
        case OrderShipped():
            return "order_shipped"
        case OrderCancelled():
            return "order_cancelled"
        case OrderRefunded():
            return "order_refunded"


def fact_of(event: DonationEvent) -> str:
    """Return the name of what the event says; a further partial refund is a further fact."""
    amount = f":{event.refunded_amount.normalize():f}" if isinstance(event, DonationRefunded) else ""
    return f"{template_of(event)}:{event.donation_id}{amount}"


def public_payload(message: Message[DonationEvent]) -> dict[str, str]:
    """Return what third parties may read: never a mail, and of an anonymous gift no name either."""
    event = message.event
    facts = {
        "type": message.event_type,
        "donation_id": str(event.donation_id),
        "campaign_id": str(event.campaign_id),
        "status": event.status,
        "amount": money.show(event.amount, event.currency),
        "refunded_amount": money.show(event.refunded_amount, event.currency),
        "currency": event.currency,
        "version": str(message.aggregate_version),
        "occurred_at": message.occurred_at.isoformat(),
    }
    return facts if event.anonymous else {**facts, "donor_name": event.donor_name}


def greeted(name: str) -> str:
    """Return a name as a mail greets with it: none that leads somewhere, because anybody may give in the name of any mail."""
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "" if any(mark in plain for mark in _LEADS_SOMEWHERE) else name


def _giver(event: DonationEvent, accounts: Mapping[UUID, Person]) -> Person | None:
    return accounts.get(event.user_id) if isinstance(event, DonationCreated) and event.user_id else None


def _signed_in(event: DonationEvent) -> UUID | None:
    """Return who was signed in; only the first event of a gift says so."""
    return event.user_id if isinstance(event, DonationCreated) else None


def _is_anybodys(event: DonationEvent, people: Mapping[str, Person]) -> bool:
    """Whether no money and no proven mail stands behind an event: whoever knows an address can cause it."""
    match event:
        case DonationCreated():
            owner = people.get(event.donor_email.lower())
            return owner is None or owner.user_id != event.user_id
        case DonationFailed():
            return True
        case DonationCompleted() | DonationRefunded():
            return False


def _mail(message: Message[DonationEvent], owner: Person | None, setting: Setting, *, limited: bool) -> Draft:
    event = message.event
    return Draft(
        cause_event_id=message.event_id,
        subject_id=event.donation_id,
        template=template_of(event),
        channel="EMAIL",
        recipient=event.donor_email,
        language=(owner.language if owner else None) or setting.default_language,
        payload=_donor_payload(event, setting),
        fact=fact_of(event),
        user_id=owner.user_id if owner else _signed_in(event),
        donor_key=event.donor_key,
        limited=limited,
    )


def _hook(mail: Draft, setting: Setting, facts: dict[str, str]) -> Draft:
    return msgspec.structs.replace(mail, channel="WEBHOOK", recipient=setting.webhook_url, payload=facts, limited=False)


def _donor_payload(event: DonationEvent, setting: Setting) -> dict[str, str]:
    """What the donor themselves reads; their own name is theirs to see, anonymous or not."""
    return {
        "name": greeted(event.donor_name),
        "donation_id": str(event.donation_id),
        "campaign": event.campaign_title,
        "amount": _plain(event.amount),
        "refunded_amount": _plain(event.refunded_amount),
        "currency": event.currency,
        "anonymous": "yes" if event.anonymous else "",
        "pay_url": f"{setting.public_url}/pay/{event.intent_id}" if isinstance(event, DonationCreated) else "",
        "at": _moment(event),
    }


def _order_fact_of(event: OrderEvent) -> str:
    amount = f":{event.refunded_amount.normalize():f}" if isinstance(event, OrderRefunded) else ""
    return f"{order_template_of(event)}:{event.order_id}{amount}"


def _buyer_payload(event: OrderEvent, setting: Setting) -> dict[str, str]:
    """What the buyer reads; lines are one text, because payloads are texts."""
    return {
        "order_number": event.order_number,
        "total": _plain(event.total),
        "refunded_amount": _plain(event.refunded_amount) if event.refunded_amount else "",
        "currency": event.currency,
        "items": "\n".join(f"{line.quantity} x {line.name}" for line in event.lines),
        "pay_url": f"{setting.public_url}/pay/{event.intent_id}" if isinstance(event, OrderCreated) else "",
        "carrier": event.carrier if isinstance(event, OrderShipped) else "",
        "tracking": event.tracking if isinstance(event, OrderShipped) else "",
        "reason": event.reason if isinstance(event, OrderCancelled) else "",
    }


def _public_order(message: Message[OrderEvent]) -> dict[str, str]:
    """What third parties may read of an order: never a mail."""
    event = message.event
    return {
        "type": message.event_type,
        "order_id": str(event.order_id),
        "order_number": event.order_number,
        "status": event.status,
        "total": money.show(event.total, event.currency),
        "refunded_amount": money.show(event.refunded_amount, event.currency),
        "currency": event.currency,
        "version": str(message.aggregate_version),
        "occurred_at": message.occurred_at.isoformat(),
    }


def _account_payload(event: UserRegistered | EmailVerificationRequested | PasswordResetRequested) -> dict[str, str]:
    match event:
        case UserRegistered():
            return {"name": greeted(event.first_name), "url": event.verification_url}
        case EmailVerificationRequested():
            return {"name": "", "url": event.verification_url}
        case PasswordResetRequested():
            return {"url": event.reset_url}


def _moment(event: DonationEvent) -> str:
    match event:
        case DonationCreated():
            return event.created_at.isoformat()
        case DonationCompleted():
            return event.completed_at.isoformat()
        case DonationRefunded():
            return event.refunded_at.isoformat()
        case DonationFailed():
            return ""


def _plain(amount: Decimal) -> str:
    return f"{amount:f}"
