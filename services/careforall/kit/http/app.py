"""Builds the Litestar applications of a process out of the parts of its services."""

from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec
from litestar import Litestar, Request, Response, Router, get, post
from litestar.config.cors import CORSConfig
from litestar.datastructures import State
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, SecurityScheme
from litestar.status_codes import HTTP_200_OK

from careforall.kit.errors import NotFound
from careforall.kit.health import Health
from careforall.kit.http import docs, problem
from careforall.kit.http import operations as routes
from careforall.kit.http.cors import origins_in
from careforall.kit.http.description import DescribedStructs, document
from careforall.kit.http.fleet import fleet_router
from careforall.kit.http.identity import ServiceTokens, Verifier, admin_only, anybody, service_only, somebody
from careforall.kit.http.limits import Limiter
from careforall.kit.http.lists import LimitQuery
from careforall.kit.http.queries import KnownQueries
from careforall.kit.operations import Operations
from careforall.kit.service import Parts
from careforall.kit.traces import Trace, TraceStore

_API = "/api/v1"


@lru_cache(maxsize=512)
def _decoder(kind: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind, float_hook=Decimal if kind is Any else None)


class StrictRequest(Request[Any, Any, Any]):
    """Reads the body straight into what the handler takes: no "true" becomes true, and no amount passes through a float.

    The framework's own conversion is lax, as query strings need it; hot paths decode the same way as this.
    """

    async def json(self) -> Any:
        """Return the decoded body."""
        body = await self.body()
        field = self.route_handler.parsed_data_field
        return _decoder(field.annotation if field is not None else Any).decode(body) if body else None


class Mounted(msgspec.Struct, frozen=True, kw_only=True):
    """A service's parts with the means to operate it."""

    name: str
    parts: Parts
    operations: Operations
    tokens: ServiceTokens


def public_app(
    services: list[Mounted],
    *,
    health: Health,
    verifier: Verifier,
    limiter: Limiter,
    traces: TraceStore,
    cors_origins: str,
    development: bool,
) -> Litestar:
    """Build what the public listener serves."""
    handlers: list[Any] = [*routes.PROBES, *docs.HANDLERS, _openapi, _traces, _trace]
    for service in services:
        handlers += [_router(service, service.parts.routes, _API), _router(service, service.parts.pages, "/")]
        handlers.append(routes.admin_router(service.operations))
    handlers.append(fleet_router([service.operations for service in services], limiter, development=development))
    origins = list(origins_in(cors_origins))
    queries = KnownQueries()
    app = _app(
        handlers,
        state={"verifier": verifier, "service_tokens": {}},
        dependencies={"traces": traces, "health": health},
        cors=CORSConfig(allow_origins=origins) if origins else None,
        openapi=_description(),
        queries=queries,
    )
    queries.learn(app, _API)
    return app


def internal_app(services: list[Mounted], *, health: Health, verifier: Verifier, traces: TraceStore) -> Litestar:
    """Build what the internal listener serves: routes for other services, behind service tokens."""
    handlers: list[Any] = [*routes.PROBES, _receive_traces]
    handlers += [_router(service, service.parts.internal, _API, guards=[service_only]) for service in services]
    return _app(
        handlers,
        state={"verifier": verifier, "service_tokens": {service.name: service.tokens for service in services}},
        dependencies={"traces": traces, "health": health},
        cors=None,
        openapi=None,
    )


@get("/openapi.json", tags=["operations"], summary="This document", include_in_schema=False)
async def _openapi(request: Request[Any, Any, Any]) -> Response[bytes]:
    return Response(_described(request.app), media_type="application/json")


@lru_cache(maxsize=1)
def _described(app: Litestar) -> bytes:
    """Return the document as bytes: making it takes a second, in which the process answers nobody else."""
    return msgspec.json.encode(document(app))


@get("/api/v1/admin/traces", guards=[admin_only], tags=["operations"], summary="The newest traces")
async def _traces(traces: TraceStore, limit: LimitQuery = 20) -> list[Trace]:
    """Return the newest traces kept in memory by this process."""
    return traces.newest(limit)


@get("/api/v1/admin/traces/{trace_id:str}", guards=[admin_only], tags=["operations"], summary="One trace")
async def _trace(traces: TraceStore, trace_id: str) -> Trace:
    """Return one trace with its spans in order."""
    found = traces.get(trace_id)
    if found is None:
        raise NotFound("This trace is not kept, or not any more.")
    return found


@post("/v1/traces", status_code=HTTP_200_OK, include_in_schema=False)
async def _receive_traces(request: Request[Any, Any, Any], traces: TraceStore) -> Response[bytes]:
    traces.receive(await request.body(), gzipped=request.headers.get("content-encoding") == "gzip")
    return Response(b"", media_type="application/x-protobuf")


def _router(service: Mounted, handlers: tuple[Any, ...], path: str, guards: list[Any] | None = None) -> Router:
    return Router(
        path,
        route_handlers=list(handlers),
        guards=guards,
        dependencies={"service": Provide(lambda: service.parts.service, sync_to_thread=False)},
        opt={"service": service.name},
        tags=[service.name],
    )


def _app(
    handlers: list[Any],
    *,
    state: dict[str, Any],
    dependencies: dict[str, Any],
    cors: CORSConfig | None,
    openapi: OpenAPIConfig | None,
    queries: KnownQueries | None = None,
) -> Litestar:
    provided = {name: Provide(_constant(value), sync_to_thread=False) for name, value in dependencies.items()}
    return Litestar(
        handlers,
        request_class=StrictRequest,
        before_request=queries.check if queries is not None else None,
        exception_handlers={Exception: problem.handle},
        dependencies={**provided, "principal": Provide(somebody), "visitor": Provide(anybody)},
        state=State(state),
        cors_config=cors,
        openapi_config=openapi,
        plugins=[DescribedStructs()],
        logging_config=None,
        request_max_body_size=None,
    )


def _constant(value: Any) -> Any:
    return lambda: value


def _description() -> OpenAPIConfig:
    return OpenAPIConfig(
        title="CareForAll",
        version="1",
        description="Donations of which no gift and no cent is lost or doubled.",
        path="/schema",
        render_plugins=[],
        use_handler_docstrings=True,
        security=[{"bearer": []}, {"apiKey": []}, {}],
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(type="http", scheme="bearer", bearer_format="JWT"),
                "apiKey": SecurityScheme(type="apiKey", name="X-API-Key", security_scheme_in="header"),
            }
        ),
    )
