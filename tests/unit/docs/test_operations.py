"""The description of the HTTP API and the routes say the same."""

from __future__ import annotations

import dis
import re
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from litestar import Router
from litestar.handlers import HTTPRouteHandler
from litestar.routes import HTTPRoute

from careforall.cli.openapi import offline
from careforall.kit.http.hot import HotRoute
from careforall_testing.reference import ROOT

KEY = "Idempotency-Key"
PARAMETER = "idempotency_key"
READERS = {"kit/http/answers.py", "kit/http/edge.py", "kit/http/hot.py", "simulator/api.py"}
"""Where the name of the header may stand in code: the parameters of handlers, what hot routes read, the log of requests."""

TRIED = (
    *("/api/v1/donations", "/api/v1/campaigns", "/api/v1/auth/signup", "/api/v1/auth/login", "/api/v1/cart/items"),
    *("/api/v1/checkout/initiate", "/api/v1/checkout/{id:str}/pay"),
)

KEYLESS = {
    *("/auth/signup", "/auth/verify-email", "/auth/password/forgot"),  # the mail is taken, or gets another link
    *("/auth/login", "/auth/refresh", "/auth/logout", "/auth/password/reset"),  # secrets that are kept as hashes only
    *("/users/me/erase", "/notifications/{identifier:str}/read", "/notifications/dead-letters/{identifier:str}/retry"),
    "/notifications/stream/tickets",  # opens a stream once within 30 s
    *("/cart/merge", "/checkout/{id:str}/cancel", "/orders/{id:str}/cancel", "/orders/{id:str}/ship"),
    *("/admin/returns/{id:str}/reject", "/admin/reviews/{id:str}/approve", "/admin/reviews/{id:str}/reject"),
    *("/reviews/{id:str}/votes", "/admin/imports/{id:str}/cancel", "/inventory/reservations/{holder_id:str}/confirm"),
    *("/payments/intent", "/payments/initiate", "/payments/alarms/{id:str}/settle", "/totals/refresh", "/pricing/quote"),
    "/totals/compare",
    "/checkout/{id:str}/pay",  # its key is in the body
    *("/payments/webhook", "/payments/webhook/{gateway:str}", "/sync/webhook/{target:str}"),  # keyed by the event
}
"""POSTs that leave things as they are when repeated, unless a reason is given."""


class Described:
    """All services with their description."""

    def __init__(self) -> None:
        process = offline()
        self.document = process.describe()
        self.parts = process.parts

    def operation(self, method: str, path: str) -> dict[str, Any]:
        """What the document says of a route, named as the framework or as a hot route names it."""
        named = re.sub(r"{(\w+):\w+}", r"{\1}", path)
        found: dict[str, Any] = self.document["paths"][named][method.lower()]
        return found

    def handlers(self) -> Iterator[tuple[str, str, HTTPRouteHandler]]:
        """Method, path and handler of every public route of a service."""
        for parts in self.parts.values():
            for route in Router("/api/v1", route_handlers=parts.routes).routes:
                if isinstance(route, HTTPRoute):
                    for handler in route.route_handlers:
                        yield from ((method, route.path, handler) for method in handler.http_methods if method != "OPTIONS")

    def hot(self) -> Iterator[HotRoute]:
        """Every hot route of the API proper."""
        for name, parts in self.parts.items():
            yield from parts.hot if name != "simulator" else ()


@pytest.fixture(scope="module")
async def described() -> Described:
    return Described()


async def test_a_route_honours_the_key_of_a_request_where_its_description_says_so_and_nowhere_else(described: Described) -> None:
    for method, path, handler in described.handlers():
        names = declared(described.operation(method, path))
        assert (KEY in names) == uses_key(handler.fn), f"{method} {path}"
    assert {route.template for route in described.hot() if uses_key(route.handler)} == {
        "/api/v1/inventory/reservations",
        "/api/v1/donations",
    }
    for route in described.hot():
        assert (KEY in declared(described.operation(route.method, route.template))) == uses_key(route.handler), route.template


async def test_every_post_answers_a_repeat_from_store_or_needs_no_key(described: Described) -> None:
    without = {
        path.removeprefix("/api/v1")
        for method, path, handler in described.handlers()
        if method == "POST" and KEY not in declared(described.operation(method, path))
    }
    assert without == KEYLESS


def test_no_code_reads_the_key_past_the_parameter_that_declares_it() -> None:
    services = ROOT / "services/careforall"
    readers = {
        str(path.relative_to(services))
        for path in services.rglob("*.py")
        if re.search(
            r"""\.get\(b?["']idempotency-key["']|name=["']Idempotency-Key["']|= ["']Idempotency-Key["']$""",
            path.read_text(),
            re.IGNORECASE | re.MULTILINE,
        )
    }
    assert readers == READERS


async def test_the_key_is_required_where_staff_move_money(described: Described) -> None:
    required = {
        f"{method} {path}"
        for method, path, handler in described.handlers()
        for parameter in described.operation(method, path).get("parameters", [])
        if parameter["name"] == KEY and parameter["required"]
    }
    assert required == {
        "POST /api/v1/payments/{id:str}/refund",
        "POST /api/v1/payments/reconciliation/run",
        "POST /api/v1/admin/returns/{id:str}/approve",
    }


async def test_operations_shapes_and_fields_are_described_by_their_docstrings(described: Described) -> None:
    operations = [operation for path in described.document["paths"].values() for operation in path.values()]
    shapes = described.document["components"]["schemas"]
    assert all(thing.get("description") for thing in [*operations, *shapes.values()])
    assert "409 `campaign_not_open`" in described.operation("POST", "/api/v1/donations")["description"]
    assert shapes["NewDonation"]["description"] == "Give to a campaign."
    assert shapes["DatabaseHealth"]["properties"]["last_check"]["description"] == "When this was looked at."


async def test_shapes_have_names_a_client_can_use_and_each_reference_leads_to_one(described: Described) -> None:
    shapes = described.document["components"]["schemas"]
    assert [name for name in shapes if not name.isidentifier()] == []
    assert {reference.rpartition("/")[2] for reference in references(described.document)} <= shapes.keys()
    assert "ProductOutPage" in shapes


@pytest.mark.parametrize("path", TRIED)
async def test_what_newcomers_try_first_has_an_example_that_is_taken(described: Described, path: str) -> None:
    shape = described.operation("POST", path)["requestBody"]["content"]["application/json"]["schema"]
    handler = next(handler for method, here, handler in described.handlers() if (method, here) == ("POST", path))
    (example,) = shape["examples"]
    msgspec.json.decode(msgspec.json.encode(example), type=handler.parsed_fn_signature.parameters["data"].annotation)


def references(node: Any) -> Iterator[str]:
    """All references in a document."""
    if isinstance(node, dict):
        yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from references(inner)


def declared(operation: dict[str, Any]) -> set[str]:
    """The names of an operation's parameters."""
    return {parameter["name"] for parameter in operation.get("parameters", [])}


def uses_key(function: Any) -> bool:
    """Whether a handler does something with the key, be it its parameter or what a hot request carries."""
    return any(step.argval == PARAMETER and step.opname.startswith("LOAD_") for step in dis.get_instructions(function))
