"""Refusals as pages: for browsers that open one, never for programs, and with nothing of a caller's taken as markup."""

from __future__ import annotations

from typing import Any

import pytest

from careforall.kit.errors import InvalidInput, NotFound, Problem, Unauthorized, Unavailable
from careforall.kit.http import problem

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


def answer(refusal: Problem, *accept: str, path: str = "/pay/1") -> tuple[int, dict[bytes, bytes], str]:
    headers = [(b"accept", line.encode("latin-1")) for line in accept]
    scope: dict[str, Any] = {"path": path, "headers": headers, "state": {"request_id": "request-1"}}
    status, said, body = problem.answer(refusal, scope)
    return status, dict(said), body.decode()


@pytest.mark.parametrize("accept", [BROWSER, "text/html", "TEXT/HTML;level=1", "application/json;q=0.8, text/html;q=0.9"])
def test_a_browser_reads_a_page(accept: str) -> None:
    status, headers, page = answer(NotFound("No such mail."), accept)
    assert (status, headers[b"content-type"]) == (404, b"text/html; charset=utf-8")
    assert b"default-src 'none'" in headers[b"content-security-policy"]
    for word in ("<h1>There is no such thing</h1>", "No such mail.", "request-1", "/docs/problems#not_found"):
        assert word in page


@pytest.mark.parametrize(
    "accept",
    [
        (),
        ("*/*",),
        ("text/*",),
        ("",),
        (",;q",),
        ("application/json",),
        ("text/html;q=0",),
        ("text/html;q=inf",),
        ("text/html, application/json",),
        ("text/html;q=0.9", "application/problem+json"),
        ("application/xhtml+xml, */*",),
        ("text/html\xe4",),
    ],
)
def test_programs_read_the_document_they_always_did(accept: tuple[str, ...]) -> None:
    refusal = InvalidInput.field("/cursor", "invalid_value", "not a cursor")
    status, headers, body = answer(refusal, *accept)
    assert (status, list(headers.items()), body.encode()) == problem.render(refusal, "request-1")


@pytest.mark.parametrize("path", ["/api/v1/nothing", "/v1/traces", "/livez", "/readyz", "/health", "/metrics", "/openapi.json"])
def test_what_is_for_programs_alone_has_no_pages(path: str) -> None:
    assert answer(NotFound(), BROWSER, path=path)[1][b"content-type"] == b"application/problem+json"


def test_a_page_keeps_what_the_headers_say() -> None:
    status, headers, page = answer(Unavailable("The till is closed.", retry_after=7), BROWSER)
    assert (status, headers[b"retry-after"]) == (503, b"7")
    assert "in 7 seconds" in page
    assert answer(Unauthorized(), BROWSER)[1][b"www-authenticate"] == b'Bearer realm="careforall"'


def test_nothing_of_a_caller_becomes_markup() -> None:
    refusal = InvalidInput.field("/<i>", "invalid_value", "<script>alert(1)</script>")
    refusal.detail = '"><img src=x>'
    _, _, page = answer(refusal, BROWSER)
    assert "<script" not in page
    assert "<img" not in page
