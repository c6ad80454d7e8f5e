"""The worker of webhooks: lease what is due, post it outside any transaction, note what came of it.

Each endpoint has places of its own (a bulkhead), so a slow one holds up nobody else, and nothing waits behind a delivery that
failed. Whoever dies between a post and its note leaves a lease that ends; the event is posted again under its id. Several
processes may work.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Sequence
from uuid import UUID

import msgspec
import structlog

from careforall.kit import crash, tasks
from careforall.kit.batch import GroupCommit
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Unavailable
from careforall.kit.outbound import WEBHOOK_HEADERS, ForbiddenTarget, NoAnswer, Outbound, UnknownHost
from careforall.kit.signatures import standard_headers
from careforall.kit.tracing import Tracing
from careforall.sync import repository_endpoints, repository_webhooks
from careforall.sync.domain_webhooks import Post, Reply, Verdict, signing_key, verdict
from careforall.sync.endpoints import Endpoints
from careforall.sync.metrics import DEAD_WEBHOOKS, DISABLED, OLDEST_WAITING, OVERDUE, POSTS

log = structlog.get_logger(__name__)

_POSTS_OF_A_LEASE = 2
"""A post, and time to note it."""
_OUTCOMES = {"PROCESSED": "delivered", "FAILED": "failed", "DEAD": "dead", "ENDED": "gone"}


class Manner(msgspec.Struct, frozen=True, kw_only=True):
    """How endpoints are called: posts to one at the same time, and the pauses between repeats in seconds."""

    at_once: int
    pauses: tuple[float, ...]


class Sending:
    """Sends webhooks."""

    def __init__(self, database: Database, endpoints: Endpoints, outbound: Outbound, tracing: Tracing, manner: Manner) -> None:
        self._database = database
        self._endpoints = endpoints
        self._outbound = outbound
        self._tracing = tracing
        self._manner = manner
        self._busy: Counter[UUID] = Counter()
        self._settling: GroupCommit[Verdict, bool] = GroupCommit("sync_webhooks", database, _settle)

    async def run(self) -> int:
        """Send until nothing is due or the database is away; return how many posts were made."""
        return await tasks.work_off(lambda _: self._started())

    async def measure(self) -> None:
        """Set what the metrics say of endpoints and their deliveries."""
        async with self._database.snapshot() as connection:
            oldest, overdue, dead = await repository_webhooks.backlog(connection)
            disabled = await repository_endpoints.disabled(connection)
        OLDEST_WAITING.set(oldest)
        OVERDUE.set(overdue)
        DEAD_WEBHOOKS.set(dead)
        for reason in ("staff", "gone"):
            DISABLED.labels(reason=reason).set(disabled.get(reason, 0))

    async def _started(self) -> set[asyncio.Task[None]]:
        lease = self._outbound.seconds * _POSTS_OF_A_LEASE
        busy = +self._busy
        posts = await self._database.run(
            lambda connection: repository_webhooks.claim(connection, busy, at_once=self._manner.at_once, seconds=lease)
        )
        return {self._start(post) for post in posts}

    def _start(self, post: Post) -> asyncio.Task[None]:
        self._busy[post.endpoint_id] += 1
        task = asyncio.create_task(self._send(post))
        task.add_done_callback(lambda _: self._busy.subtract([post.endpoint_id]))
        return task

    async def _send(self, post: Post) -> None:
        reply = await self._posted(post)
        crash.point("sync.after_post_before_settle")
        found = verdict(post, reply, self._manner.pauses, random.random())  # noqa: S311 - jitter, not a secret
        POSTS.labels(outcome=_OUTCOMES[found.status]).inc()
        if found.status in {"DEAD", "ENDED"}:
            log.warning("webhook given up", endpoint=str(post.endpoint_id), delivery=str(post.id), error=found.error)
        with contextlib.suppress(Unavailable):  # the lease ends, and it is posted again under its id
            if reply.gone:
                await self._endpoints.gone(post.endpoint_id, post.endpoint_version)
            await self._settling.submit(found, key=str(post.id))

    async def _posted(self, post: Post) -> Reply:
        keys = [signing_key(self._endpoints.root, salt) for salt in post.salts]
        signed = standard_headers(keys, identifier=str(post.event_id), at=time.time(), body=post.body)
        try:
            with self._tracing.span("webhook post", post.traceparent, endpoint=str(post.endpoint_id)):
                answer = await self._outbound.post(post.url, post.body, {**WEBHOOK_HEADERS, **signed})
        except (ForbiddenTarget, UnknownHost, NoAnswer) as error:
            return Reply(error=str(error))
        return Reply(status=answer.status, retry_after=answer.retry_after)


async def _settle(connection: Connection, verdicts: Sequence[Verdict]) -> Sequence[bool]:
    settled = await repository_webhooks.settle(connection, verdicts)
    return [one.id in settled for one in verdicts]
