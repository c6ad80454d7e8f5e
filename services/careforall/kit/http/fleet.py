"""The operations endpoints without a service name: the same paths over all services of a process."""

from datetime import UTC, datetime
from typing import Any

from litestar import Router, delete, get, post
from litestar.di import Provide
from litestar.status_codes import HTTP_200_OK

from careforall.kit.errors import NotFound
from careforall.kit.health import Health, ServiceHealth
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.limits import Limiter
from careforall.kit.http.lists import LimitQuery, path_id
from careforall.kit.http.operations import Connections, DatabaseHealth, Done, time_database
from careforall.kit.operations import DeadLetters, Operations, Pending, Statistics


class FleetConnections(Connections, frozen=True, kw_only=True):
    """The pools of one process together, and each of them."""

    services: dict[str, Connections]


class FleetDatabaseHealth(DatabaseHealth, frozen=True, kw_only=True):
    """How the databases answer together, and each of them; latency is that of the slowest."""

    services: dict[str, DatabaseHealth]


class Fleet:
    """The plumbing of every service of a process."""

    def __init__(self, services: list[Operations]) -> None:
        self.services = services


@get("/outbox/statistics", summary="Events by state, all services")
async def outbox_statistics(fleet: Fleet) -> Statistics:
    """Add up outgoing events."""
    return added([await one.outbox_statistics() for one in fleet.services])


@get("/inbox/statistics", summary="Received messages by state, all services")
async def inbox_statistics(fleet: Fleet) -> Statistics:
    """Add up received messages."""
    return added([await one.inbox_statistics() for one in fleet.services])


@get("/outbox/pending", summary="Events that wait to be published, all services")
async def outbox_pending(fleet: Fleet, limit: LimitQuery = 50) -> list[Pending]:
    """Return the oldest first."""
    found = [row for one in fleet.services for row in await one.pending(limit)]
    return sorted(found, key=lambda row: row.id)[:limit]


@get("/outbox/dead-letter", summary="Messages given up on, all services")
async def dead_letters(fleet: Fleet, limit: LimitQuery = 50) -> DeadLetters:
    """Return the newest first."""
    found = [await one.dead_letters(limit) for one in fleet.services]
    events = sorted((event for letters in found for event in letters.events), key=lambda e: e.created_at, reverse=True)
    return DeadLetters(events=events[:limit], count=sum(letters.count for letters in found))


@post("/outbox/retry/{id:str}", status_code=HTTP_200_OK, summary="Try a dead letter again, whichever service has it")
async def retry(fleet: Fleet, principal: Principal, id: str) -> Done:
    """Put a dead letter back to work."""
    for one in fleet.services:
        if await one.retry(path_id(id), principal.user_id):
            return Done(success=True)
    raise NotFound("There is no dead letter with this id.")


@post("/outbox/discard/{id:str}", status_code=HTTP_200_OK, summary="Settle a dead letter, whichever service has it")
async def discard(fleet: Fleet, principal: Principal, id: str) -> Done:
    """Discard an incoming dead letter for good."""
    for one in fleet.services:
        if await one.discard(path_id(id), principal.user_id):
            return Done(success=True)
    raise NotFound("There is no incoming dead letter with this id.")


@post("/outbox/process", status_code=HTTP_200_OK, summary="Publish what waits, now, in all services")
async def process(fleet: Fleet, principal: Principal) -> Done:
    """Make delayed retries due and wake the relays."""
    return Done(success=True, pending=sum([await one.process(principal.user_id) for one in fleet.services]))


@get("/health", summary="Health of all services")
async def health_of_all(health: Health) -> dict[str, ServiceHealth]:
    """Return the state of every service here."""
    return health.services()


@get("/database/connections", summary="The connection pools")
async def connections(fleet: Fleet) -> FleetConnections:
    """Add up the pools of the process that answers."""
    pools = {one.service: Connections(**one.database.usage()) for one in fleet.services}
    sums = {name: sum(getattr(pool, name) for pool in pools.values()) for name in Connections.__struct_fields__}
    return FleetConnections(**sums, services=pools)


@get("/database/health", summary="How the databases answer")
async def databases(fleet: Fleet) -> FleetDatabaseHealth:
    """Time one statement on each; the slowest counts."""
    found = {one.service: await time_database(one.database) for one in fleet.services}
    queries, failures = (sum(getattr(one, name) for one in found.values()) for name in ("queries", "failures"))
    return FleetDatabaseHealth(
        status="up" if all(one.status == "up" for one in found.values()) else "down",
        latency_ms=max((one.latency_ms for one in found.values()), default=0.0),
        queries=queries,
        failures=failures,
        error_rate=failures / (queries + failures) if queries + failures else 0.0,
        last_check=datetime.now(UTC),
        services=found,
    )


@delete("/rate-limits", summary="Forget all rate limits (development only)")
async def reset_rate_limits(limiter: Limiter) -> None:
    """Start counting anew."""
    await limiter.reset()


_HANDLERS = (
    outbox_statistics,
    inbox_statistics,
    outbox_pending,
    dead_letters,
    retry,
    discard,
    process,
    health_of_all,
    connections,
    databases,
)


def fleet_router(services: list[Operations], limiter: Limiter, *, development: bool) -> Router:
    """Return the endpoints over all services of this process."""
    handlers: list[Any] = [*_HANDLERS, *([reset_rate_limits] if development else [])]
    fleet = Fleet(services)
    return Router(
        "/api/v1/admin",
        route_handlers=handlers,
        guards=[admin_only],
        dependencies={
            "fleet": Provide(lambda: fleet, sync_to_thread=False),
            "limiter": Provide(lambda: limiter, sync_to_thread=False),
        },
        opt={"service": "platform"},
        tags=["operations"],
    )


def added(found: list[Statistics]) -> Statistics:
    """Add the counts of services; the oldest age wins."""
    processed, failed, dead = (sum(getattr(one, name) for one in found) for name in ("processed", "failed", "dead"))
    total = processed + failed + dead
    bad = (failed + dead) / total if total else 0.0
    return Statistics(
        processed=processed,
        pending=sum(one.pending for one in found),
        failed=failed,
        dead=dead,
        success_rate=1 - bad,
        failure_rate=bad,
        oldest_age=max((one.oldest_age for one in found), default=0.0),
    )
