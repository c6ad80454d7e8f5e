"""A gateway without patience: every event in ten copies, shuffled, through two processes, with the cache emptied midway."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from typing import Any

import pytest
import redis.asyncio

from careforall.kit import json
from careforall.kit.ids import new_id
from careforall.launch.servers import Valkey
from careforall_testing.servers import ServerUrls
from careforall_testing.sizes import sizes

SIZES = sizes()
COPIES, WORKERS = 10, 64
ONCE = """
SELECT count(*) FILTER (WHERE status = 'CAPTURED') AS captured, sum(captured_amount) AS amount,
       (SELECT count(*) FROM payment_transitions) AS steps, (SELECT count(*) FROM ledger_entries) AS entries,
       (SELECT count(*) FROM outbox WHERE event_type = 'payments.captured') AS told,
       (SELECT count(*) FROM webhook_events) AS events
FROM payment_intents
"""

pytestmark = pytest.mark.timeout(120 + SIZES.storm_events // 20)


async def test_rule_08_a_storm_of_copies_has_every_effect_once_and_one_answer_each(
    arena: Any, servers: ServerUrls, redis_db: Valkey
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)  # noqa: T201 - shown when the test fails
    number = SIZES.storm_events
    urls = ServerUrls(postgres=servers.postgres, nats=servers.nats, redis=redis_db.url)
    async with (
        arena.open(urls, instance="storm") as one,
        arena.open(urls, instance="storm", database=one.database.dsn) as other,
        redis.asyncio.Redis.from_url(redis_db.url) as cache,
    ):
        intents = await one.pledges([new_id() for _ in range(number)])
        bodies = [json.encode(one.success(intent)) for intent in intents]
        answers: dict[bytes, set[tuple[int, bytes]]] = defaultdict(set)
        copies = bodies * COPIES
        random.Random(seed).shuffle(copies)

        async def tell_some() -> None:
            while copies:
                if len(copies) == len(bodies) * COPIES // 2:
                    await cache.flushall()
                body = copies.pop()
                answer = await (one, other)[len(copies) % 2].tell(body)
                answers[body].add((answer.status_code, answer.content))

        await asyncio.gather(*(tell_some() for _ in range(WORKERS)))
        await cache.flushall()
        for body in bodies[:: max(1, number // 100)]:
            again = await other.tell(body)
            answers[body].add((again.status_code, again.content))

        assert {len(found) for found in answers.values()} == {1}
        assert {status for found in answers.values() for status, _ in found} == {200}
        row = await one.database.fetchrow(ONCE)
        assert dict(row) == {
            "captured": number,
            "amount": 25 * number,
            "steps": 2 * number,
            "entries": number,
            "told": number,
            "events": number,
        }
