"""Query parameters that a call does not have are refused: a mistyped filter must not list, export or import everything."""

from typing import Any

from litestar import Litestar, Request
from litestar.routes import HTTPRoute

from careforall.kit.errors import FieldError, InvalidInput

ANY_QUERY = {"any_query": True}
"""`opt` of a handler that reads the query string itself, or is called by others who may add to its address."""
_LONGEST = 100
_MOST = 20


class KnownQueries:
    """Knows the query parameters of each call of an application."""

    def __init__(self) -> None:
        self._names: dict[Any, frozenset[str]] = {}

    def learn(self, app: Litestar, under: str) -> None:
        """Read off the handlers below a path what they take."""
        for route in app.routes:
            if isinstance(route, HTTPRoute) and route.path.startswith(under):
                for method, (handler, kwargs) in route.route_handler_map.items():
                    if method != "OPTIONS" and not handler.opt.get("any_query"):
                        self._names[handler] = frozenset(one.field_alias for one in kwargs.expected_query_params)

    async def check(self, request: Request[Any, Any, Any]) -> None:
        """Refuse a request with a parameter that its call does not have.

        Raises:
            InvalidInput: `unknown_parameter`, naming each.
        """
        if not request.scope["query_string"]:
            return
        known = self._names.get(request.route_handler)
        if known is None:
            return
        unknown = [name for name in dict.fromkeys(request.query_params) if name not in known]
        if unknown:
            there = f"there are: {', '.join(sorted(known))}" if known else "there are none"
            message = f"this call has no such parameter; {there}"
            errors = [
                FieldError(pointer=f"/{name[:_LONGEST]}", code="unknown_parameter", message=message) for name in unknown[:_MOST]
            ]
            raise InvalidInput(message, errors=errors)
