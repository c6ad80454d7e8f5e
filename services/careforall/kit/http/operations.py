"""The operations endpoints, the same for every service: probes, metrics, and the admin's view of outbox, inbox and database."""

from datetime import UTC, datetime
from time import perf_counter
from typing import Literal

import msgspec
from litestar import Response, Router, get, post
from litestar.di import Provide
from litestar.status_codes import HTTP_200_OK, HTTP_503_SERVICE_UNAVAILABLE
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from careforall.kit.db import Database
from careforall.kit.errors import PASSING, NotFound
from careforall.kit.health import Health, ServiceHealth, State
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import LimitQuery, path_id
from careforall.kit.operations import DeadLetters, Operations, Pending, Statistics


class Readiness(msgspec.Struct, frozen=True, kw_only=True):
    """Whether this process takes traffic, and how each service feels."""

    status: State
    services: dict[str, State]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The public summary."""

    status: State
    services: dict[str, ServiceHealth]


class DatabaseHealth(msgspec.Struct, frozen=True, kw_only=True):
    """How the database answers; latency in milliseconds, of an answer or of what was waited for in vain."""

    status: Literal["up", "down"]
    latency_ms: float
    queries: int
    failures: int
    error_rate: float
    last_check: datetime
    """When this was looked at."""


class Connections(msgspec.Struct, frozen=True, kw_only=True):
    """The pool of one process."""

    size: int
    checked_in: int
    checked_out: int
    overflow: int
    waiting: int
    total: int


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What a repair did."""

    success: bool
    pending: int | None = None


@get("/livez", tags=["operations"], summary="Is the event loop alive?")
async def livez() -> dict[str, str]:
    """Answer while the process can."""
    return {"status": "alive"}


@get("/readyz", tags=["operations"], summary="Does this process take traffic?")
async def readyz(health: Health) -> Response[Readiness]:
    """Answer 200 from when resources were opened until the process is told to stop; a lost dependency only degrades."""
    services = {name: found.status for name, found in health.services().items()}
    overall = _worst(list(services.values()))
    return Response(
        Readiness(status=overall, services=services),
        status_code=HTTP_200_OK if health.takes_traffic else HTTP_503_SERVICE_UNAVAILABLE,
    )


@get("/health", tags=["operations"], summary="Public summary")
async def summary(health: Health) -> Summary:
    """Tell the state of every service here and of what it needs."""
    services = health.services()
    return Summary(status=_worst([found.status for found in services.values()]), services=services)


@get("/metrics", tags=["operations"], summary="Prometheus metrics", media_type="text/plain")
async def metrics() -> Response[bytes]:
    """Return the metrics of this process."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


@get("/health", summary="Health of the service")
async def admin_health(health: Health, operations: Operations) -> ServiceHealth:
    """Return the state of the service and of what it needs."""
    return health.services()[operations.service]


@get("/database/health", summary="How the database answers")
async def database_health(operations: Operations) -> DatabaseHealth:
    """Time one statement and report the error rate of this process."""
    return await time_database(operations.database)


@get("/database/connections", summary="The connection pool")
async def connections(operations: Operations) -> Connections:
    """Return the pool of the process that answers."""
    return Connections(**operations.database.usage())


@get("/outbox/statistics", summary="Events by state")
async def outbox_statistics(operations: Operations) -> Statistics:
    """Count outgoing events."""
    return await operations.outbox_statistics()


@get("/inbox/statistics", summary="Received messages by state")
async def inbox_statistics(operations: Operations) -> Statistics:
    """Count received messages."""
    return await operations.inbox_statistics()


@get("/outbox/pending", summary="Events that wait to be published")
async def outbox_pending(operations: Operations, limit: LimitQuery = 50) -> list[Pending]:
    """Return the oldest first."""
    return await operations.pending(limit)


@get("/outbox/dead-letter", summary="Messages given up on")
async def dead_letters(operations: Operations, limit: LimitQuery = 50) -> DeadLetters:
    """Return outgoing and incoming dead letters, newest first."""
    return await operations.dead_letters(limit)


@post("/outbox/retry/{id:str}", status_code=HTTP_200_OK, summary="Try a dead letter again")
async def retry(operations: Operations, principal: Principal, id: str) -> Done:
    """Put an outgoing or incoming dead letter back to work."""
    if not await operations.retry(path_id(id), principal.user_id):
        raise NotFound("There is no dead letter with this id.")
    return Done(success=True)


@post("/outbox/discard/{id:str}", status_code=HTTP_200_OK, summary="Settle a dead letter without applying it")
async def discard(operations: Operations, principal: Principal, id: str) -> Done:
    """Discard an incoming dead letter for good."""
    if not await operations.discard(path_id(id), principal.user_id):
        raise NotFound("There is no incoming dead letter with this id.")
    return Done(success=True)


@post("/outbox/process", status_code=HTTP_200_OK, summary="Publish what waits, now")
async def process(operations: Operations, principal: Principal) -> Done:
    """Make delayed retries due and wake the relay."""
    return Done(success=True, pending=await operations.process(principal.user_id))


PROBES = (livez, readyz, summary, metrics)
_ADMIN = (
    admin_health,
    database_health,
    connections,
    outbox_statistics,
    inbox_statistics,
    outbox_pending,
    dead_letters,
    retry,
    discard,
    process,
)


def admin_router(operations: Operations) -> Router:
    """Return the operations endpoints of one service."""
    return Router(
        f"/api/v1/admin/{operations.service}",
        route_handlers=list(_ADMIN),
        guards=[admin_only],
        dependencies={"operations": Provide(lambda: operations, sync_to_thread=False)},
        opt={"service": operations.service},
        tags=["operations"],
    )


def _worst(states: list[State]) -> State:
    return "down" if "down" in states else "degraded" if "degraded" in states else "ready"


async def time_database(database: Database) -> DatabaseHealth:
    """Time one statement on a database; that it does not answer is what was asked."""
    started = perf_counter()
    status: Literal["up", "down"] = "up"
    try:
        await database.fetchrow("SELECT 1")
    except PASSING:
        status = "down"
    total = database.queries + database.failures
    return DatabaseHealth(
        status=status,
        latency_ms=round((perf_counter() - started) * 1000, 3),
        queries=database.queries,
        failures=database.failures,
        error_rate=database.failures / total if total else 0.0,
        last_check=datetime.now(UTC),
    )
