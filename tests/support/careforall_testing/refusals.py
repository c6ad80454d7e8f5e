"""Insists on how the running platform refuses: exact status, code and pointer, no row more than before, no secret in a log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg

from careforall_testing.journey import Journey
from careforall_testing.polling import eventually

TABLES: Mapping[str, tuple[str, ...]] = {
    "donations": ("campaigns", "donations", "donation_history", "idempotency_keys", "outbox"),
    "payments": (
        "payment_intents",
        "payment_attempts",
        "payment_transitions",
        "refunds",
        "outbox",
        "webhook_events",
        "webhook_bodies",
        "payment_alarms",
    ),
    "accounts": ("users", "sessions", "refresh_tokens", "addresses", "api_keys", "outbox"),
}
KEPT = frozenset({"payments.webhook_events", "payments.webhook_bodies", "payments.payment_alarms"})
"""What a signed webhook leaves behind even where it moves nothing."""

Counts = dict[str, int]


class Refusals:
    """Sends bad input to a platform at rest."""

    def __init__(self, journey: Journey, connections: Mapping[str, asyncpg.Connection]) -> None:
        self.journey = journey
        self._connections = connections

    async def stored(self) -> Counts:
        """How many rows each table has."""
        return {
            f"{service}.{table}": await connection.fetchval(f"SELECT count(*) FROM {table}")
            for service, connection in self._connections.items()
            for table in TABLES[service]
        }

    async def at_rest(self) -> None:
        """Wait until earlier work has run its course: nothing to publish, and the same rows twice in a row."""
        seen: list[Counts] = []

        async def still() -> bool:
            seen.append(await self.stored())
            return len(seen) > 1 and seen[-1] == seen[-2]

        await self.journey.settled()
        await eventually(still, within_s=30, every_s=1.0, what="rows that stay as they are")

    async def refused(
        self,
        method: str,
        path: str,
        expected: tuple[int, str],
        pointer: tuple[str, str] | None = None,
        *,
        keeps: frozenset[str] = frozenset(),
        **request: Any,
    ) -> dict[str, Any]:
        """Send a request and return its refusal, which must be exactly the expected one.

        Args:
            method: The HTTP method.
            path: Where to.
            expected: Status and code of the problem.
            pointer: The JSON pointer and code of the field at fault, where there is one.
            keeps: Tables that may have grown.
            request: Body and headers, as the client takes them.
        """
        before = await self.stored()
        answer = await self.journey.client.request(method, path, **request)
        document: dict[str, Any] = answer.json()
        assert (answer.status_code, document.get("code")) == expected, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        if pointer is not None:
            assert pointer in [(error["pointer"], error["code"]) for error in document.get("errors", [])], answer.text
        self.unchanged(before, await self.stored(), keeps=keeps)
        return document

    def unchanged(self, before: Counts, after: Counts, *, keeps: frozenset[str] = frozenset()) -> None:
        """Insist that no other table has more or fewer rows."""
        assert {table: after[table] for table in after if table not in keeps} == {
            table: before[table] for table in before if table not in keeps
        }

    def logs(self) -> str:
        """Everything the platform has written so far."""
        return "".join(process.log_text() for process in self.journey.platform.processes)

    def secrets(self) -> list[str]:
        """What must never be in a log."""
        names = ("CAREFORALL_SECRET_KEY", "CAREFORALL_WEBHOOK_SECRETS", "CAREFORALL_SIMULATOR_SECRETS")
        return [self.journey.platform.environment[name] for name in names]


@asynccontextmanager
async def refusals(journey: Journey) -> AsyncIterator[Refusals]:
    """Refusals of a platform that is at rest; keeps one connection per database."""
    async with AsyncExitStack() as stack:
        connections = {service: await stack.enter_async_context(journey.platform.database(service)) for service in TABLES}
        yield Refusals(journey, connections)
