"""How the demo passes messages on, as broker and gateway would: events to consumers, signed webhooks to payments."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import msgspec

from careforall.kit import consumer as messages
from careforall.kit import json, secrets
from careforall.kit.consumer import Consumer
from careforall.kit.db import Database
from careforall.kit.service import Parts
from careforall.kit.settings import Settings


class MoneyWord(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway says about an intent, and when it happened."""

    intent_id: UUID
    status: str
    at: datetime
    amount: Decimal
    currency: str


class Webhooks:
    """Tells payments about money by the signed webhook that any company may send."""

    def __init__(self, payments: Parts, settings: Settings) -> None:
        self._payments: Any = payments.service
        self._secret = str(getattr(settings, "webhook_secrets", "")).partition(",")[0].strip().encode()

    async def send(self, word: MoneyWord) -> None:
        """Send a webhook; of the same intent and status it is the same one."""
        body = json.encode(
            {
                "event_id": f"demo-{word.intent_id}-{word.status}",
                "event_type": "demo",
                "payment_intent_id": word.intent_id,
                "status": word.status,
                "timestamp": min(word.at, datetime.now(UTC)),
                "amount": word.amount,
                "currency": word.currency,
            }
        )
        headers = {b"x-signature": b"sha256=" + secrets.sign(self._secret, body).encode()}
        await self._payments.webhooks.receive("generic", headers, body)


async def told(database: Database, consumer: Consumer, aggregates: Sequence[UUID] | None = None) -> list[bytes]:
    """Return the events a service has told that a consumer hears, of some aggregates or of all."""
    rows = await database.fetch(_TOLD, consumer.filters(), None if aggregates is None else list(aggregates))
    return [row["payload"] for row in rows]


async def hear(database: Database, consumer: Consumer, payloads: Sequence[bytes]) -> None:
    """Hand events to a consumer as the broker will again, in vain, once it runs."""
    decoder = messages.Decoder(consumer)
    decoded = [decoder.decode(payload, deliveries=1) for payload in payloads]
    good = sorted((one for one in decoded if not isinstance(one, messages.Refusal)), key=lambda one: one.event_id)
    for start in range(0, len(good), consumer.batch):
        await database.run(partial(messages.apply, consumer=consumer, messages=good[start : start + consumer.batch]))


_TOLD = """
SELECT payload FROM outbox
WHERE event_type = ANY($1::text[]) AND ($2::uuid[] IS NULL OR aggregate_id = ANY($2))
ORDER BY id
"""
