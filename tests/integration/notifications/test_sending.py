"""From events to messages in mailboxes: once, whatever is repeated, however a provider behaves."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from standardwebhooks import Webhook
from typing_extensions import override

from careforall.kit.db import Database
from careforall.kit.ids import new_id
from careforall.notifications import sender as sender_module
from careforall.notifications.channels import smtp as smtp_module
from careforall.notifications.channels.base import Carrier, Letter
from careforall.notifications.channels.mailbox import Mailbox
from careforall.notifications.channels.smtp import Smtp
from careforall.notifications.channels.webhook import WebhookCarrier
from careforall.notifications.domain import Channel, Draft, Language, Outcome, retry_delay
from careforall.notifications.rendering import Rendered, Renderer, RenderingError
from careforall.notifications.sender import Sender
from careforall.notifications.settings import NotificationsSettings

SECRET = "whsec_c2VjcmV0c2VjcmV0c2VjcmV0"
FROM = "CareForAll <no-reply@example.org>"


@pytest.fixture
def mailbox(database: Database) -> Mailbox:
    return Mailbox(database, sender=FROM, batch=100)


async def send(database: Database, carrier: Carrier, renderer: Renderer, *, max_retries: int = 3) -> int:
    return await Sender(database, carrier, renderer, max_retries=max_retries).run()


async def mails(database: Database) -> list[Any]:
    return await database.fetch("SELECT * FROM mailbox_messages ORDER BY id")


async def test_a_gift_is_mailed_as_received_and_as_receipt(
    story: Any, database: Database, mailbox: Mailbox, renderer: Renderer
) -> None:
    gift = story.created()
    await story.tell(gift)
    await story.tell(story.completed(donation_id=gift.donation_id))

    assert await send(database, mailbox, renderer) == 2
    found = await mails(database)
    assert [mail["subject"] for mail in found] == ["We have noted your gift of €25.00", "Receipt: €25.00"]
    assert all(mail["recipient"] == "donor1@example.org" for mail in found)
    assert f"http://127.0.0.1:8000/pay/{gift.intent_id}" in found[0]["text_body"]
    assert await story.statuses() == {"SENT": 2}


async def test_the_local_mailbox_has_a_mail_as_soon_as_the_event_was_folded(
    direct_story: Any, database: Database, mailbox: Mailbox, renderer: Renderer
) -> None:
    gift = direct_story.completed()
    await direct_story.tell(gift, gift, direct_story.completed())
    await direct_story.tell(gift)

    read = await direct_story.service.mailbox(to=None, subject_id=gift.donation_id, before=None, limit=10)
    assert [mail.subject for mail in read] == ["Receipt: €25.00"]
    assert str(gift.donation_id) in read[0].text
    assert str(gift.donation_id) in read[0].html
    assert await direct_story.service.mail(read[0].id) == read[0]
    assert len(await mails(database)) == 2
    assert await direct_story.statuses() == {"SENT": 2}
    assert all(row["sent_at"] is not None for row in await direct_story.rows())
    assert await send(database, mailbox, renderer) == 0


class Wordless(Renderer):
    """Finds no words for gifts that were received."""

    @override
    def render(self, template: str, language: Language, payload: dict[str, str]) -> Rendered:
        if template == "donation_received":
            raise RenderingError("no words")
        return super().render(template, language, payload)


async def test_what_has_no_words_is_left_to_the_sender_which_says_why(
    story: Any, database: Database, mailbox: Mailbox, renderer: Renderer
) -> None:
    wordless = Wordless(public_url="http://127.0.0.1:8000")
    direct = type(story)(database, wordless, direct=mailbox)
    await direct.tell(direct.created(), direct.completed())
    assert await direct.statuses() == {"SENT": 1, "PENDING": 1}

    assert await send(database, mailbox, wordless) == 0
    assert await direct.statuses() == {"SENT": 1, "DEAD": 1}
    assert await send(database, mailbox, renderer) == 0


async def test_a_fact_is_mailed_once_though_other_events_repeat_it(
    story: Any, database: Database, mailbox: Mailbox, renderer: Renderer
) -> None:
    gift = story.completed()
    await story.tell(gift, gift)
    await send(database, mailbox, renderer)
    await story.tell(gift)
    await send(database, mailbox, renderer)

    assert len(await mails(database)) == 1


async def test_each_further_partial_refund_is_told(story: Any) -> None:
    gift = new_id()
    first = story.refunded(donation_id=gift, refunded_amount=Decimal("5.00"))
    second = story.refunded(donation_id=gift, refunded_amount=Decimal("7.50"))
    await story.tell(first, second, first)

    assert len(await story.rows()) == 2


async def test_two_senders_share_the_work_and_send_nothing_twice(story: Any, database: Database, renderer: Renderer) -> None:
    await story.tell(*(story.completed() for _ in range(300)))
    senders = [Sender(database, Mailbox(database, sender=FROM, batch=20), renderer, max_retries=3) for _ in range(4)]

    assert sum(await asyncio.gather(*(sender.run() for sender in senders))) == 300
    assert len(await mails(database)) == 300
    assert await story.statuses() == {"SENT": 300}


async def test_a_message_that_cannot_be_rendered_is_given_up_with_its_reason(
    story: Any, database: Database, mailbox: Mailbox, renderer: Renderer
) -> None:
    await story.tell(story.completed(currency="EUR"), story.completed())
    async with database.connection() as connection:
        await connection.execute(
            "UPDATE notifications SET payload = payload - 'campaign' WHERE id = (SELECT min(id::text)::uuid FROM notifications)"
        )

    assert await send(database, mailbox, renderer) == 1
    assert await story.statuses() == {"SENT": 1, "DEAD": 1}
    assert "campaign" in (await story.rows())[0]["error"]


class Away:
    """A provider that answers nobody."""

    channel: Channel = "EMAIL"
    provider = "away"
    batch = 10

    def __init__(self) -> None:
        self.calls = 0

    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        self.calls += 1
        return [Outcome(error="ConnectionRefusedError")] * len(letters)


async def test_a_message_is_tried_again_later_and_given_up_in_the_end(story: Any, database: Database, renderer: Renderer) -> None:
    await story.tell(story.completed())
    for expected in ("FAILED", "FAILED", "DEAD"):
        assert await send(database, Away(), renderer) == 0
        [row] = await story.rows()
        assert row["status"] == expected
        await story.due_now()

    assert row["retry_count"] == 3
    assert row["error"] == "ConnectionRefusedError"


async def test_a_revived_dead_letter_is_sent(story: Any, database: Database, mailbox: Mailbox, renderer: Renderer) -> None:
    await story.tell(story.completed())
    await send(database, Away(), renderer, max_retries=1)
    [dead] = await story.service.dead(None, 10)
    await story.service.revive(dead.id)

    assert await send(database, mailbox, renderer) == 1


async def test_the_breaker_spares_a_dead_provider_and_the_messages_their_tries(
    story: Any, database: Database, renderer: Renderer
) -> None:
    await story.tell(*(story.completed() for _ in range(100)))
    away = Away()
    await send(database, away, renderer)

    assert away.calls == 3
    assert await story.statuses() == {"FAILED": 30, "PENDING": 70}


async def test_a_sender_that_dies_after_sending_repeats_nothing_in_the_mailbox(
    story: Any, database: Database, mailbox: Mailbox, renderer: Renderer
) -> None:
    await story.tell(*(story.completed() for _ in range(3)))

    class Dying(Mailbox):
        async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
            await super().carry(letters)
            raise SystemError("killed before the mark")

    with pytest.raises(SystemError):
        await send(database, Dying(database, sender=FROM, batch=10), renderer)
    assert await send(database, mailbox, renderer) == 0, "the lease holds"
    async with database.connection() as connection:
        await connection.execute("UPDATE notifications SET leased_until = clock_timestamp()")

    assert await send(database, mailbox, renderer) == 3
    assert len(await mails(database)) == 3
    assert await story.statuses() == {"SENT": 3}


async def test_one_letter_that_cannot_be_stored_harms_no_other(story: Any, database: Database, renderer: Renderer) -> None:
    await story.tell(*(story.completed() for _ in range(9)))
    async with database.connection() as connection:
        await connection.execute("ALTER TABLE mailbox_messages ADD CHECK (recipient <> 'poison@example.org')")
    await story.tell(story.completed(donor_email="poison@example.org"))

    assert await send(database, Mailbox(database, sender=FROM, batch=100), renderer) == 9
    assert await story.statuses() == {"SENT": 9, "DEAD": 1}


class Inbox:
    """What a mail server got."""

    def __init__(self) -> None:
        self.got: list[Any] = []

    async def handle_RCPT(self, _server: Any, _session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if address.startswith("nobody"):
            return "550 no such mailbox"
        if address.startswith("later"):
            return "450 try later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        self.got.append(envelope)
        return "250 OK"


@asynccontextmanager
async def mail_server(handler: Any) -> AsyncIterator[Smtp]:
    """The way to a mail server that answers as `handler` says."""
    server = Controller(handler, hostname="127.0.0.1", port=0)
    server.loop.close()
    listening = await asyncio.get_running_loop().create_server(server.factory, "127.0.0.1", 0)
    settings = NotificationsSettings(
        postgres_url="postgres://unused",
        secret_key="x" * 32,
        email_from=FROM,
        smtp_port=listening.sockets[0].getsockname()[1],
        smtp_tls="none",
    )
    try:
        yield Smtp(settings)
    finally:
        listening.close()


async def test_smtp_delivers_gives_up_the_unknown_and_retries_the_busy(
    story: Any, database: Database, renderer: Renderer
) -> None:
    inbox = Inbox()
    await story.tell(*(story.completed(donor_email=f"{name}@example.org") for name in ("donor1", "nobody", "later")))

    async with mail_server(inbox) as smtp:
        assert await send(database, smtp, renderer) == 1

    assert {row["recipient"].split("@")[0]: row["status"] for row in await story.rows()} == {
        "donor1": "SENT",
        "nobody": "DEAD",
        "later": "FAILED",
    }
    [mail] = inbox.got
    assert mail.rcpt_tos == ["donor1@example.org"]
    assert b"multipart/alternative" in mail.content


class Unverified(Inbox):
    """Takes no mails of ours yet."""

    async def handle_MAIL(self, _server: Any, _session: Any, _envelope: Any, _address: str, _options: Any) -> str:  # noqa: N802 - aiosmtpd's name
        return "550 sender not verified"


async def test_a_refused_sender_is_ours_to_repair_so_the_mails_are_kept(
    story: Any, database: Database, renderer: Renderer
) -> None:
    await story.tell(story.completed(), story.completed())
    async with mail_server(Unverified()) as smtp:
        assert await send(database, smtp, renderer) == 0
    assert await story.statuses() == {"FAILED": 2}

    await story.due_now()
    async with mail_server(Inbox()) as smtp:
        assert await send(database, smtp, renderer) == 2


class Thorough(Inbox):
    """Looks through a mail for a while before it says that it has taken it."""

    @override
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        await asyncio.sleep(1.0)  # not a wait: what the server takes
        return await super().handle_DATA(server, session, envelope)


async def test_a_mail_that_is_looked_through_for_long_is_sent_once(
    story: Any, database: Database, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtp_module, "_TIMEOUT", 0.5)
    await story.tell(story.completed())
    inbox = Thorough()
    async with mail_server(inbox) as smtp:
        assert await send(database, smtp, renderer) == 1
    assert len(inbox.got) == 1


class Slow(Mailbox):
    """Needs longer than a lease lasts."""

    @override
    async def carry(self, letters: Sequence[Letter]) -> Sequence[Outcome]:
        await asyncio.sleep(1.5)  # not a wait: what the provider takes
        return await super().carry(letters)


async def test_a_slow_provider_gets_no_mail_from_a_second_sender_too(
    story: Any, database: Database, renderer: Renderer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "LEASE", 0.5)
    monkeypatch.setattr(sender_module, "_HOLD_EVERY", 0.1)
    await story.tell(*(story.completed() for _ in range(5)))
    first = asyncio.ensure_future(send(database, Slow(database, sender=FROM, batch=10), renderer))
    await asyncio.sleep(1.0)  # not a wait: longer than the lease

    assert await send(database, Mailbox(database, sender=FROM, batch=10), renderer) == 0
    assert await first == 5


def test_a_mail_server_may_be_away_for_two_days() -> None:
    tries = NotificationsSettings(postgres_url="postgres://unused", secret_key="x" * 32).max_retries
    assert sum(retry_delay(retries, 0.5) for retries in range(tries - 1)) > 2 * 86_400


class Endpoint:
    """A small HTTP endpoint that keeps what it got and answers with given statuses."""

    def __init__(self, *statuses: int) -> None:
        self._statuses = list(statuses)
        self.got: list[tuple[dict[str, str], bytes]] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers["content-length"]))
        self.got.append((headers, body))
        status = self._statuses.pop(0)
        writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    found = Endpoint(503, 204)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook"
    yield found
    server.close()


def hook(url: str) -> Draft:
    return Draft(
        cause_event_id=new_id(),
        subject_id=new_id(),
        template="notice",
        channel="WEBHOOK",
        recipient=url,
        language="en",
        payload={"type": "donations.completed", "amount": "25.00"},
    )


async def test_a_webhook_is_signed_and_tried_again_under_the_same_id(
    story: Any, database: Database, renderer: Renderer, endpoint: Endpoint
) -> None:
    await story.service.send(hook(endpoint.url))
    carrier = WebhookCarrier(secret=SECRET, allow_private=True)

    assert await send(database, carrier, renderer) == 0
    await story.due_now()
    assert await send(database, carrier, renderer) == 1
    (first, _), (second, body) = endpoint.got
    assert first["webhook-id"] == second["webhook-id"]
    assert Webhook(SECRET).verify(body, second)["data"]["amount"] == "25.00"


@pytest.mark.parametrize(
    "url",
    ["https://127.0.0.1/x", "https://[::ffff:10.0.0.1]/x", "https://169.254.169.254/latest", "https://localhost/x"],
)
async def test_a_webhook_never_reaches_into_our_network(story: Any, database: Database, renderer: Renderer, url: str) -> None:
    await story.service.send(hook(url))
    await send(database, WebhookCarrier(secret=SECRET), renderer)

    [row] = await story.rows()
    assert row["status"] == "DEAD"
    assert "private network" in row["error"]


async def test_mails_are_kept_in_batches(story: Any, database: Database, renderer: Renderer) -> None:
    await story.tell(*(story.completed() for _ in range(4000)))
    started = time.perf_counter()
    assert await send(database, Mailbox(database, sender=FROM, batch=500), renderer) == 4000
    print(f"{4000 / (time.perf_counter() - started):.0f} mails/s")  # noqa: T201 - the measurement, shown with -s
    assert len(await mails(database)) == 4000
