"""Requests of a drill, whose every answer is written down, refusals and silence too.

asker = Asker(client.request)
answered = await asker.ask("donation", "POST", "/api/v1/donations", content=body)
"""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx2
from msgspec import Struct

Request = Callable[..., Awaitable[httpx2.Response]]
"""Takes a request: a client of one process, or a balancer over several."""
_GOOD = range(200, 300)
_SILENCE = (httpx2.HTTPError, AttributeError)
"""Nobody answered. A connection that is reset the moment it is made has no socket any more when the client asks for its peer."""


class Answered(Struct, frozen=True, kw_only=True):
    """What one request was answered; status 0 where nobody answered at all."""

    kind: str
    status: int
    seconds: float
    headers: Mapping[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        """Whether the request was accepted."""
        return self.status in _GOOD

    @property
    def code(self) -> str:
        """The code of a refusal; empty where there is none."""
        refusal = self.headers.get("content-type", "").startswith("application/problem+json")
        return str(self.document.get("code", "")) if refusal else ""

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        found: dict[str, Any] = json.loads(self.body or b"{}")
        return found


class Asker:
    """Sends requests and keeps their answers, in order."""

    def __init__(self, request: Request) -> None:
        self.answers: list[Answered] = []
        self._request = request

    async def ask(self, kind: str, method: str, path: str, **request: Any) -> Answered:
        """Send one request and write down its answer."""
        started = time.monotonic()
        try:
            answer = await self._request(method, path, **request)
        except _SILENCE as error:
            status, headers, body = 0, {}, json.dumps({"error": repr(error)}).encode()
        else:
            status, headers, body = answer.status_code, dict(answer.headers), answer.content
        answered = Answered(kind=kind, status=status, seconds=time.monotonic() - started, headers=headers, body=body)
        self.answers.append(answered)
        return answered

    def of(self, kind: str) -> list[Answered]:
        """The answers of one kind, in order."""
        return [answered for answered in self.answers if answered.kind == kind]

    def failures(self) -> list[tuple[str, int, bytes]]:
        """What was not accepted, told shortly."""
        return [(answered.kind, answered.status, answered.body[:300]) for answered in self.answers if not answered.good][:5]
