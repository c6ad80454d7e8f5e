"""What the operator asks and tells NATS: how many messages wait, and whether services should refuse writes."""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

import httpx2
import nats
from nats.aio.client import Client
from nats.js.api import KeyValueConfig
from nats.js.errors import APIError, BucketNotFoundError

from careforall_operator.status import Degraded

KEY = "degraded"
LIFETIME_SECONDS = 30
_ANSWER_SECONDS = 2.0


async def waiting(urls: Iterable[str]) -> dict[str, int] | None:
    """Return the messages not yet delivered for each durable consumer; None where no server answered.

    In a cluster every server knows copies of consumers: the leader's word counts, else the greatest number.
    """
    found: dict[str, int] = {}
    final: set[str] = set()
    answered = False
    async with httpx2.AsyncClient(timeout=_ANSWER_SECONDS) as client:
        for url in urls:
            try:
                answer = await client.get(f"{url}/jsz", params={"consumers": "true"})
                server = (await client.get(f"{url}/varz")).json().get("server_name")
                details = list(_consumers(answer.raise_for_status().json()))
            except (httpx2.HTTPError, ValueError):
                continue
            answered = True
            for detail in details:
                _count(detail, server, found, final)
    return found if answered else None


def _count(detail: Mapping[str, Any], server: str | None, found: dict[str, int], final: set[str]) -> None:
    name, pending = detail["name"], int(detail.get("num_pending", 0))
    if (detail.get("cluster") or {}).get("leader") == server:
        found[name] = pending
        final.add(name)
    elif name not in final:
        found[name] = max(pending, found.get(name, 0))


def _consumers(answer: Mapping[str, Any]) -> Iterable[Mapping[str, Any]]:
    for account in answer.get("account_details") or []:
        for stream in account.get("stream_detail") or []:
            yield from stream.get("consumer_detail") or []


class Flag:
    """The key `degraded` that services read: a hint with a life of thirty seconds, said again while it holds."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._client: Client | None = None
        self._said: tuple[Degraded, datetime] | None = None

    async def tell(self, bucket: str, state: Degraded, timeline: int | None, now: datetime) -> None:
        """Say whether services should refuse writes, when it is new or about to expire.

        Raises:
            Exception: The broker did not take it; it is said again with the next call.
        """
        if not self._url or not self._due(state, now):
            return
        store = await self._bucket(bucket)
        await store.put(KEY, json.dumps(flag_of(state, timeline, now)).encode())
        self._said = (state, now)

    def _due(self, state: Degraded, now: datetime) -> bool:
        if self._said is None or self._said[0] != state:
            return True
        return state.active and now - self._said[1] >= timedelta(seconds=LIFETIME_SECONDS / 3)

    async def _bucket(self, bucket: str) -> Any:
        if self._client is None or not self._client.is_connected:
            await self.close()
            self._client = await nats.connect(
                self._url, name="careforall-operator", connect_timeout=2, allow_reconnect=False, error_cb=_quiet
            )
        stream = self._client.jetstream(timeout=_ANSWER_SECONDS)
        try:
            return await stream.key_value(bucket)
        except BucketNotFoundError:
            return await _made(stream, bucket)

    async def close(self) -> None:
        """Hang up."""
        if self._client is not None:
            await self._client.close()
            self._client = None


async def _made(stream: Any, bucket: str) -> Any:
    """Make the bucket on three servers, or on the one there is."""
    try:
        return await stream.create_key_value(KeyValueConfig(bucket=bucket, history=1, ttl=LIFETIME_SECONDS, replicas=3))
    except APIError:
        return await stream.create_key_value(KeyValueConfig(bucket=bucket, history=1, ttl=LIFETIME_SECONDS))


async def _quiet(_: Exception) -> None:
    """Errors come back from the calls; the library's own log would tell them twice."""


def flag_of(state: Degraded, timeline: int | None, now: datetime) -> dict[str, Any]:
    """Return what services read."""
    return {
        "active": state.active,
        "since": state.since.isoformat() if state.since else None,
        "reason": state.reason,
        "timeline": timeline,
        "expires_at": (now + timedelta(seconds=LIFETIME_SECONDS)).isoformat(),
    }
