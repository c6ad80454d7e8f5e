"""Accounts, languages, the in-app inbox, orders of other services, and being forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from careforall.contracts.accounts import (
    EmailVerificationRequested,
    EmailVerified,
    PasswordResetRequested,
    PreferencesChanged,
    UserErased,
    UserRegistered,
)
from careforall.kit.db import Database
from careforall.kit.errors import InvalidInput
from careforall.kit.http.identity import Principal
from careforall.kit.ids import new_id
from careforall.notifications.channels.in_app import InApp
from careforall.notifications.channels.mailbox import Mailbox
from careforall.notifications.domain import Draft
from careforall.notifications.errors import InvalidTicket, NotificationNotFound, UnknownTemplate, UnusablePayload
from careforall.notifications.rendering import Renderer
from careforall.notifications.sender import Sender

MAIL = "donor1@example.org"


def person(**changes: Any) -> Principal:
    return Principal(**{"user_id": new_id(), "email": MAIL, "role": "USER", "email_verified": True, **changes})


def order(**changes: Any) -> Draft:
    defaults: dict[str, Any] = {
        "cause_event_id": new_id(),
        "subject_id": new_id(),
        "template": "notice",
        "channel": "EMAIL",
        "recipient": MAIL,
        "language": "en",
        "payload": {"title": "Hello", "text": "A word to you."},
    }
    return Draft(**{**defaults, **changes})


async def test_signing_up_and_forgetting_the_password_are_mailed(story: Any, database: Database, renderer: Renderer) -> None:
    user = new_id()
    await story.tell(UserRegistered(user_id=user, email=MAIL, first_name="Ada", verification_url="http://127.0.0.1/v"))
    await story.tell(PasswordResetRequested(user_id=user, email=MAIL, reset_url="http://127.0.0.1/r1"))
    await story.tell(PasswordResetRequested(user_id=user, email=MAIL, reset_url="http://127.0.0.1/r2"))
    await Sender(database, Mailbox(database, sender="x@example.org", batch=10), renderer, max_retries=1).run()

    found = await story.service.mailbox(to="DONOR1@example.org", subject_id=user, before=None, limit=10)
    assert [mail.subject for mail in reversed(found)] == [
        "Please confirm your mail address",
        "Choose a new password",
        "Choose a new password",
    ]
    assert "http://127.0.0.1/r2" in found[0].text


async def test_a_new_link_to_prove_a_mail_is_mailed_each_time_it_is_asked_for(
    story: Any, database: Database, renderer: Renderer
) -> None:
    user = new_id()
    await story.tell(UserRegistered(user_id=user, email=MAIL, first_name="Ada", verification_url="http://127.0.0.1/v1"))
    for link in ("v2", "v3"):
        await story.tell(EmailVerificationRequested(user_id=user, email=MAIL, verification_url=f"http://127.0.0.1/{link}"))
    await Sender(database, Mailbox(database, sender="x@example.org", batch=10), renderer, max_retries=1).run()

    found = await story.service.mailbox(to=MAIL, subject_id=user, before=None, limit=10)
    assert len(found) == 3
    assert "http://127.0.0.1/v3" in found[0].text


async def test_only_a_proven_mail_gets_gifts_into_its_inbox_in_the_language_chosen(
    story: Any, database: Database, renderer: Renderer
) -> None:
    donor = person()
    await story.tell(UserRegistered(user_id=donor.user_id, email=MAIL, verification_url="http://127.0.0.1/v"))
    await story.tell(story.completed())
    assert "IN_APP" not in {row["channel"] for row in await story.rows()}

    await story.tell(EmailVerified(user_id=donor.user_id, email=MAIL), version=2)
    await story.tell(PreferencesChanged(user_id=donor.user_id, email=MAIL, language="de-AT"))
    await story.tell(story.completed())
    heard: list[set[str]] = []
    await Sender(database, InApp(database, batch=10, hint=heard.append), renderer, max_retries=1).run()

    [item] = await story.service.inbox(donor.user_id, unread=True, before=None, limit=10)
    assert item.title == "Beleg: 25,00 €"
    assert heard == [{str(donor.user_id)}]
    await story.service.mark_read(donor.user_id, item.id)
    assert await story.service.inbox(donor.user_id, unread=True, before=None, limit=10) == []
    with pytest.raises(NotificationNotFound):
        await story.service.mark_read(new_id(), item.id)


async def test_the_newest_preferences_win_and_a_receipt_is_mailed_whatever_they_say(story: Any) -> None:
    donor = person()
    now = datetime.now(UTC)
    no_inbox = PreferencesChanged(user_id=donor.user_id, email=MAIL, language="fr", channels=())
    await story.tell(no_inbox, at=now)
    await story.tell(PreferencesChanged(user_id=donor.user_id, email=MAIL, language="de"), at=now - timedelta(seconds=1))
    await story.tell(EmailVerified(user_id=donor.user_id, email=MAIL), version=2)
    await story.tell(story.completed())

    assert [(row["channel"], row["language"]) for row in await story.rows()] == [("EMAIL", "en")]


async def test_an_old_registration_does_not_undo_a_verification(story: Any) -> None:
    donor = person()
    await story.tell(EmailVerified(user_id=donor.user_id, email=MAIL), version=2)
    await story.tell(UserRegistered(user_id=donor.user_id, email=MAIL, verification_url="http://127.0.0.1/v"), version=1)
    await story.tell(story.completed())

    assert {row["channel"] for row in await story.rows() if row["template"] == "donation_completed"} == {"EMAIL", "IN_APP"}


async def test_messages_about_a_gift_are_for_its_giver_and_staff(story: Any) -> None:
    gift = story.completed()
    await story.tell(gift)

    assert len(await story.service.of_subject(person(), gift.donation_id, None, 10)) == 1
    assert len(await story.service.of_subject(person(email="a@example.org", role="ADMIN"), gift.donation_id, None, 10)) == 1
    for stranger in (person(email="other@example.org"), person(email_verified=False)):
        with pytest.raises(NotificationNotFound):
            await story.service.of_subject(stranger, gift.donation_id, None, 10)


async def test_an_order_to_send_is_kept_once_per_cause(story: Any) -> None:
    draft = order()
    first = await story.service.send(draft)

    assert await story.service.send(draft) == first
    assert (await story.service.send(order())).id != first.id


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"template": "no_such"}, UnknownTemplate),
        ({"payload": {"title": "only"}}, UnusablePayload),
        ({"recipient": "not a mail"}, InvalidInput),
        ({"channel": "IN_APP"}, InvalidInput),
        ({"channel": "WEBHOOK", "recipient": "ftp://example.org/x"}, InvalidInput),
    ],
)
async def test_an_order_that_cannot_be_sent_is_refused(story: Any, changes: dict[str, Any], refusal: type[Exception]) -> None:
    with pytest.raises(refusal):
        await story.service.send(order(**changes))
    assert await story.rows() == []


async def test_a_ticket_opens_the_stream_once(story: Any) -> None:
    donor = person(expires_at=(datetime.now(UTC) + timedelta(minutes=10)).timestamp())
    ticket = await story.service.ticket(donor)

    assert (await story.service.reader(None, ticket)).user_id == donor.user_id
    for used in (ticket, "never-made"):
        with pytest.raises(InvalidTicket):
            await story.service.reader(None, used)


async def test_an_erased_person_leaves_no_address_no_word_and_gets_no_more_mails(
    story: Any, database: Database, renderer: Renderer
) -> None:
    donor = person()
    mailbox = Mailbox(database, sender="x@example.org", batch=10)
    before = datetime.now(UTC) - timedelta(seconds=5)
    await story.tell(UserRegistered(user_id=donor.user_id, email=MAIL, verification_url="http://127.0.0.1/v"))
    await story.tell(EmailVerified(user_id=donor.user_id, email=MAIL), version=2)
    await story.tell(story.completed())
    await Sender(database, mailbox, renderer, max_retries=1).run()
    await story.tell(story.created())
    await story.tell(UserErased(user_id=donor.user_id, email=MAIL, donor_key="key-of-donor1"), version=3)
    await story.tell(story.completed(), at=before)
    await Sender(database, mailbox, renderer, max_retries=1).run()

    for table in ("notifications", "mailbox_messages", "in_app_messages", "people"):
        dump = str([tuple(row.values()) for row in await database.fetch(f"SELECT * FROM {table}")])
        assert "donor1@" not in dump
        assert "Donor One" not in dump
    assert len(await database.fetch("SELECT FROM mailbox_messages")) == 2
    assert await story.statuses() == {"SENT": 2, "DEAD": 3}


async def test_what_an_account_gave_under_an_unproved_mail_goes_with_it_and_the_mail_of_others_stays(
    story: Any, database: Database, renderer: Renderer
) -> None:
    mailbox, stranger = Mailbox(database, sender="x@example.org", batch=10), new_id()
    await story.tell(UserRegistered(user_id=stranger, email=MAIL, verification_url="http://127.0.0.1/v"))
    gift = {"donation_id": new_id(), "donor_name": "Leaving"}
    before = datetime.now(UTC) - timedelta(seconds=5)
    await story.tell(story.created(user_id=stranger, **gift), story.completed(**gift), story.completed(donor_name="Staying"))
    await Sender(database, mailbox, renderer, max_retries=1).run()
    await story.tell(UserErased(user_id=stranger, email="", donor_key=""), version=3)
    late = story.created(user_id=stranger, donor_name="Leaving")
    await story.tell(story.refunded(**gift), late, at=before)
    await Sender(database, mailbox, renderer, max_retries=1).run()

    rows = [*await story.rows(), *await database.fetch("SELECT * FROM mailbox_messages")]
    assert not [row for row in rows if "Leaving" in str(tuple(row.values()))]
    kept = [row for row in rows if MAIL in str(tuple(row.values()))]
    assert [str(tuple(row.values())).count("Staying") > 0 for row in kept] == [True] * len(kept)
    assert kept


async def test_integrators_hear_of_a_gift_without_the_name_once_its_giver_is_erased(told_story: Any) -> None:
    await told_story.tell(told_story.completed(donor_name="Leaving", donor_key="k"), told_story.completed(donor_name="Staying"))
    await told_story.tell(UserErased(user_id=new_id(), email="", donor_key="k"))
    rows = [row for row in await told_story.rows() if row["channel"] == "WEBHOOK"]
    payloads = [str(row["payload"]) for row in rows]
    assert [("Leaving" in one, "Staying" in one, "amount" in one) for one in payloads] == [
        (False, False, True),
        (False, True, True),
    ]
    assert {row["status"] for row in rows} == {"PENDING"}


async def test_a_mail_under_way_while_its_person_is_erased_is_not_kept(
    story: Any, database: Database, renderer: Renderer
) -> None:
    await story.tell(story.completed())

    class Slow(Mailbox):
        async def carry(self, letters: Any) -> Any:
            await story.tell(UserErased(user_id=new_id(), email=MAIL, donor_key="key-of-donor1"))
            return await super().carry(letters)

    await Sender(database, Slow(database, sender="x@example.org", batch=10), renderer, max_retries=1).run()

    assert await database.fetch("SELECT FROM mailbox_messages") == []
