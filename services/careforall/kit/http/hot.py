"""Thin handlers for the busiest routes, in front of the framework: same schema, same service call, same errors, less time.

Every hot route has a Litestar twin that documents it and answers the same; the setting `hot_paths=false` sends everything there,
and the contract tests run against both.
"""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from careforall.kit.context import Cause
from careforall.kit.http.identity import Principal, Verifier, within_scopes


class HotRequest(msgspec.Struct, kw_only=True):
    """What a hot handler gets to see."""

    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes
    client: str
    cause: Cause
    verifier: Verifier
    service: str
    write: bool

    @property
    def idempotency_key(self) -> str | None:
        """The header of a route whose twin declares it as a parameter."""
        key = self.headers.get(b"idempotency-key")
        return key.decode("latin-1") if key is not None else None

    async def principal(self) -> Principal | None:
        """Return the caller, if they said who they are and their API key may do this."""
        return within_scopes(await self.verifier.principal(self.headers), self.service, write=self.write)


class HotResponse(msgspec.Struct, frozen=True, kw_only=True):
    """A finished answer."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ()


class HotRoute(msgspec.Struct, frozen=True, kw_only=True):
    """A method and an exact path, or with `prefix` a path, one more segment and, where there is one, a `suffix` behind it."""

    method: str
    path: str
    template: str
    service: str
    handler: Callable[[HotRequest], Awaitable[HotResponse]]
    prefix: bool = False
    suffix: str = ""
    query: frozenset[bytes] | None = frozenset()
    """The parameters it reads, or None where others may add to the address; what brings more goes to the twin, to be refused."""

    def segment(self, path: str) -> str:
        """Return the one segment that such a path leaves open."""
        return path[len(self.path) : len(path) - len(self.suffix)]

    def reads(self, query: bytes) -> bool:
        """Whether it reads all there is in a query string."""
        return not query or self.query is None or {part.partition(b"=")[0] for part in query.split(b"&")} <= self.query


class HotTable:
    """Finds the hot route of a request, if there is one."""

    def __init__(self, routes: list[HotRoute]) -> None:
        self._exact = {(route.method, route.path): route for route in routes if not route.prefix}
        self._prefixed = [route for route in routes if route.prefix]

    def find(self, scope: Any) -> HotRoute | None:
        """Return the route of an HTTP scope."""
        found = self._of(scope["method"], scope["path"])
        return found if found is not None and found.reads(scope["query_string"]) else None

    def _of(self, method: str, path: str) -> HotRoute | None:
        if found := self._exact.get((method, path)):
            return found
        for route in self._prefixed:
            if method == route.method and path.startswith(route.path) and path.endswith(route.suffix):
                segment = route.segment(path)
                if segment and "/" not in segment:
                    return route
        return None
