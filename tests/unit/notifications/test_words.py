"""What is said to whom: templates in both languages, escaping, anonymity, and the waits between tries."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from careforall.contracts.accounts import UserRegistered
from careforall.contracts.donations import DonationCompleted, DonationCreated, DonationFailed, DonationRefunded
from careforall.contracts.orders import (
    OrderCancelled,
    OrderConfirmed,
    OrderCreated,
    OrderLine,
    OrderRefunded,
    OrderShipped,
)
from careforall.kit.envelope import Message
from careforall.kit.ids import new_id
from careforall.notifications import domain, drafting
from careforall.notifications.domain import LANGUAGES, TEMPLATES, Person
from careforall.notifications.drafting import Setting
from careforall.notifications.rendering import Renderer, RenderingError

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SETTING = Setting(public_url="http://127.0.0.1:8000", webhook_url="https://hooks.example.org/in", default_language="en")
EVENTS: dict[type[Any], dict[str, Any]] = {
    DonationCreated: {"status": "PENDING", "created_at": NOW},
    DonationCompleted: {"status": "COMPLETED", "completed_at": NOW},
    DonationFailed: {"status": "FAILED"},
    DonationRefunded: {"status": "REFUNDED", "refunded_at": NOW, "refunded_amount": Decimal("5.00")},
}
ORDER_EVENTS: dict[type[Any], dict[str, Any]] = {
    OrderCreated: {"expires_at": NOW, "created_at": NOW},
    OrderConfirmed: {"confirmed_at": NOW},
    OrderShipped: {"carrier": "Post", "tracking": "T-1"},
    OrderCancelled: {"reason": "too late"},
    OrderRefunded: {},
}


def told(kind: type[Any], **changes: Any) -> Message[Any]:
    facts: dict[str, Any] = {
        "donation_id": new_id(),
        "campaign_id": new_id(),
        "intent_id": new_id(),
        "amount": Decimal("25.00"),
        "currency": "EUR",
        "donor_key": "key",
        "donor_email": "donor1@example.org",
        "donor_name": "Donor <One>",
        "campaign_title": "Clean & fresh water",
    }
    return Message(
        event_id=new_id(),
        event_type=kind.SUBJECT,
        version=1,
        aggregate_id=new_id(),
        aggregate_version=1,
        occurred_at=NOW,
        correlation_id="request-1",
        source="donations",
        traceparent=None,
        event=kind(**{**facts, **EVENTS[kind], **changes}),
        data=b"",
    )


def ordered(kind: type[Any], **changes: Any) -> Message[Any]:
    line = OrderLine(sku="MUG", name="Mug <big>", quantity=2, unit_price=Decimal(10), total=Decimal(20), status="CONFIRMED")
    facts: dict[str, Any] = {
        "order_id": new_id(),
        "order_number": "ORD-2026-ABCDEFGHIJ",
        "intent_id": new_id(),
        "user_id": new_id(),
        "email": "buyer1@example.org",
        "status": "PENDING",
        "total": Decimal("20.00"),
        "refunded_amount": Decimal("5.00"),
        "currency": "EUR",
        "lines": (line,),
    }
    message = told(DonationCreated)
    event = kind(**{**facts, **ORDER_EVENTS[kind], **changes})
    return msgspec.structs.replace(message, event_type=kind.SUBJECT, event=event)


@pytest.fixture(scope="module")
def renderer() -> Renderer:
    return Renderer(public_url=SETTING.public_url)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(EVENTS))
def test_every_donation_event_reads_well_in_both_languages(renderer: Renderer, kind: type[Any], language: Any) -> None:
    owner = Person(user_id=new_id(), email="donor1@example.org", verified=True, language=language)
    drafts = drafting.donation_drafts(told(kind), {"donor1@example.org": owner}, {}, SETTING)
    mail = next(draft for draft in drafts if draft.channel == "EMAIL")
    words = renderer.render(mail.template, mail.language, mail.payload)

    assert mail.language == language
    assert ("€25.00" if language == "en" else "25,00") in words.text
    assert "Donor <One>" in words.text
    assert "<bdi>Donor &lt;One&gt;</bdi>" in words.html
    assert "<bdi>Clean &amp; fresh water</bdi>" in words.html
    assert "overflow-wrap: anywhere" in words.html
    assert "<One>" not in words.html
    assert words.subject
    assert "\n" not in words.subject


LURES = (
    "<b>You won</b> http://evil.example/x",
    "Visit WWW.evil.example",
    "win@evil.example",
    "ftp://evil",
    "\uff57\uff57\uff57\uff0eevil",
    "win\uff20evil",
)


@pytest.mark.parametrize("name", LURES)
@pytest.mark.parametrize("kind", list(EVENTS))
def test_a_name_that_leads_somewhere_is_not_greeted(renderer: Renderer, kind: type[Any], name: str) -> None:
    message = told(kind, donor_name=name)
    drafts = drafting.donation_drafts(message, {}, {}, SETTING)
    mail, hook = [next(draft for draft in drafts if draft.channel == channel) for channel in ("EMAIL", "WEBHOOK")]
    words = renderer.render(mail.template, mail.language, mail.payload)

    assert words.text.splitlines()[0] == "Hello,"
    assert "<p>Hello,</p>" in words.html
    assert "evil" not in words.text + words.html + words.subject
    assert hook.payload["donor_name"] == name


@pytest.mark.parametrize("name", LURES)
def test_nobody_is_welcomed_by_a_name_that_leads_somewhere(renderer: Renderer, name: str) -> None:
    event = UserRegistered(user_id=new_id(), email="donor1@example.org", first_name=name, verification_url="http://127.0.0.1/v")
    message = msgspec.structs.replace(told(DonationCreated), event_type=event.SUBJECT, event=event)
    mail = drafting.account_draft(message, {}, SETTING)
    assert mail is not None
    assert "Hello,\n" in renderer.render(mail.template, mail.language, mail.payload).text


@pytest.mark.parametrize("name", ["Donor <One>", "J.R. Öz", "Anna-Maria O'Neil", "A/B: C"])
def test_any_other_name_is_greeted_as_it_was_written(name: str) -> None:
    assert drafting.greeted(name) == name


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("kind", list(ORDER_EVENTS))
def test_every_order_event_reads_well_in_both_languages(renderer: Renderer, kind: type[Any], language: Any) -> None:
    message = ordered(kind)
    buyer = Person(user_id=message.event.user_id, email="other@example.org", verified=False, language=language)
    drafts = drafting.order_drafts(message, {buyer.user_id: buyer}, SETTING)
    mail = next(draft for draft in drafts if draft.channel == "EMAIL")
    words = renderer.render(mail.template, mail.language, mail.payload)

    assert (mail.recipient, mail.language) == ("buyer1@example.org", language)
    assert "ORD-2026-ABCDEFGHIJ" in words.subject
    assert "2 x Mug <big>" in words.text
    assert "2 x Mug &lt;big&gt;" in words.html
    assert ("€20.00" if language == "en" else "20,00") in words.text
    assert "buyer1@example.org" not in str(next(draft for draft in drafts if draft.channel == "WEBHOOK").payload)
    assert [draft.recipient for draft in drafts if draft.channel == "IN_APP"] == [str(buyer.user_id)]


@pytest.mark.parametrize(("language", "says"), [("en", "the way you paid"), ("de", "auf dem Sie bezahlt haben")])
def test_nobody_is_told_that_nothing_was_sent_back_to_them(renderer: Renderer, language: Any, says: str) -> None:
    message = ordered(OrderRefunded, refunded_amount=Decimal(0))
    buyer = Person(user_id=message.event.user_id, email="other@example.org", verified=False, language=language)
    mail = next(one for one in drafting.order_drafts(message, {buyer.user_id: buyer}, SETTING) if one.channel == "EMAIL")
    words = renderer.render(mail.template, mail.language, mail.payload)
    for text in (words.text, words.html):
        assert says in text
        assert "0.00" not in text.replace("20.00", "")
        assert "0,00" not in text.replace("20,00", "")


def test_of_a_buyer_or_giver_who_was_forgotten_integrators_hear_and_nobody_is_mailed() -> None:
    drafts = drafting.order_drafts(ordered(OrderShipped, email=""), {}, SETTING)
    drafts += drafting.donation_drafts(told(DonationCompleted, donor_email="erased"), {}, {}, SETTING)
    assert [draft.channel for draft in drafts] == ["WEBHOOK", "WEBHOOK"]


def test_every_template_exists_in_every_language(renderer: Renderer) -> None:
    payload = {
        **drafting.donation_drafts(told(DonationCreated), {}, {}, SETTING)[0].payload,
        **drafting.order_drafts(ordered(OrderCreated), {}, SETTING)[0].payload,
        "url": "http://127.0.0.1:8000/verify",
        "title": "A title",
        "text": "A text",
    }
    words = {(name, language): renderer.render(name, language, payload) for name in TEMPLATES for language in LANGUAGES}

    assert len({word.subject for word in words.values()}) == len(TEMPLATES) * 2 - 1


def test_a_value_cannot_add_a_header_line(renderer: Renderer) -> None:
    words = renderer.render("notice", "en", {"title": "Hello\r\nBcc: donor2@example.org", "text": "x"})

    assert words.subject == "Hello"


def test_a_missing_value_is_an_error_not_a_hole(renderer: Renderer) -> None:
    with pytest.raises(RenderingError, match="text"):
        renderer.render("notice", "en", {"title": "Hello"})


@pytest.mark.parametrize("kind", list(EVENTS))
def test_third_parties_never_read_a_mail_nor_the_name_of_an_anonymous_donor(kind: type[Any]) -> None:
    for anonymous in (True, False):
        drafts = drafting.donation_drafts(told(kind, anonymous=anonymous), {}, {}, SETTING)
        hook = next(draft for draft in drafts if draft.channel == "WEBHOOK")
        assert "donor1@example.org" not in str(hook.payload)
        assert ("Donor <One>" in str(hook.payload)) is not anonymous


def test_a_signed_in_giver_is_told_in_their_inbox_though_the_mail_is_not_proven() -> None:
    user = Person(user_id=new_id(), email="other@example.org", verified=False)
    drafts = drafting.donation_drafts(told(DonationCreated, user_id=user.user_id), {}, {user.user_id: user}, SETTING)

    assert [draft.recipient for draft in drafts if draft.channel == "IN_APP"] == [str(user.user_id)]


def test_a_fact_is_named_by_what_it_says() -> None:
    gift = new_id()
    amounts = (Decimal(5), Decimal("5.00"), Decimal("7.50"))
    facts = [drafting.fact_of(told(DonationRefunded, donation_id=gift, refunded_amount=amount).event) for amount in amounts]

    assert facts[0] == facts[1] != facts[2]


def test_waits_double_up_to_an_hour_and_are_spread() -> None:
    assert [domain.retry_delay(tries, 1.0) for tries in (0, 1, 2, 30)] == [5.0, 10.0, 20.0, 3600.0]
    assert domain.retry_delay(0, 0.0) == 2.5
