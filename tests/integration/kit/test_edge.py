"""The edge of a real process: caps that callers can read about, ids, proxies, limits, metrics, security headers, operations."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import AsyncIterator
from datetime import datetime

import pytest

from careforall.kit.ids import new_id
from careforall.launch.servers import Nats
from careforall_testing.callers import Callers, signing_in
from careforall_testing.giving import DONATIONS
from careforall_testing.platform import Platform, client_of, platform
from careforall_testing.polling import eventually
from careforall_testing.servers import ServerUrls

SITE = "https://shop.example.org"
SECURITY = {"x-content-type-options": "nosniff", "x-frame-options": "DENY", "referrer-policy": "same-origin"}


@pytest.fixture(scope="module")
async def running(servers: ServerUrls, own_nats: Nats) -> AsyncIterator[Platform]:
    urls = ServerUrls(postgres=servers.postgres, nats=own_nats.url, redis=servers.redis)
    settings = {"TRUSTED_PROXIES": "1", "RATE_PER_ADDRESS": "20", "CORS_ORIGINS": f"{SITE}, https://other.example.org"}
    async with platform(urls, ["donations"], **{f"CAREFORALL_{name}": value for name, value in settings.items()}) as found:
        yield found


@pytest.fixture(scope="module")
async def callers(running: Platform) -> AsyncIterator[Callers]:
    async with signing_in(running) as found:
        yield found


@pytest.fixture
def somewhere() -> dict[str, str]:
    """An address of one's own, so that tests do not use up each other's limit."""
    return {"X-Forwarded-For": f"2001:db8:{new_id().hex[-4:]}:{new_id().hex[-4:]}::1"}


async def _talk(running: Platform, request: bytes) -> bytes:
    """Send raw bytes and read the whole answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", running.first.port)
    writer.write(request)
    await writer.drain()
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    return answer


@pytest.mark.parametrize("chunked", [True, False])
async def test_07_the_caller_of_a_body_above_the_cap_can_read_why(
    running: Platform, somewhere: dict[str, str], *, chunked: bool
) -> None:
    size = 600_000
    head = f"POST {DONATIONS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += f"X-Forwarded-For: {somewhere['X-Forwarded-For']}\r\n"
    if chunked:
        body = b"".join(b"2000\r\n" + b" " * 0x2000 + b"\r\n" for _ in range(size // 0x2000)) + b"0\r\n\r\n"
        request = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + body
    else:
        request = f"{head}Content-Length: {size}\r\n\r\n".encode() + b" " * size
    answer = await _talk(running, request)
    assert answer.startswith(b"HTTP/1.1 413 "), answer[:200]
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"


async def test_07_length_and_chunks_at_once_are_never_smuggled(running: Platform) -> None:
    request = (
        f"POST {DONATIONS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    answer = await _talk(running, request.encode())
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.split()[1].startswith(b"4")


@pytest.mark.parametrize("given", ["abc-123", "A.b:c_d", "x" * 64])
async def test_a_request_id_that_is_plain_is_kept(running: Platform, somewhere: dict[str, str], given: str) -> None:
    answer = await running.client.get("/nowhere", headers={"X-Request-ID": given, **somewhere})
    assert answer.headers["x-request-id"] == given == answer.json()["request_id"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "<script>", '"'])
async def test_11_any_other_request_id_is_replaced(running: Platform, somewhere: dict[str, str], given: str) -> None:
    answer = await running.client.get("/health", headers={"X-Request-ID": given, **somewhere})
    assert answer.headers["x-request-id"] != given
    assert len(answer.headers["x-request-id"]) == 36


async def test_23_only_configured_proxy_hops_are_believed(running: Platform) -> None:
    address = f"203.0.113.{int(new_id().hex[-2:], 16)}"
    spoofed = [{"X-Forwarded-For": f"10.0.0.{number}, {address}"} for number in range(40)]
    answers = await asyncio.gather(*(running.client.get("/api/v1/campaigns", headers=headers) for headers in spoofed))
    statuses = [answer.status_code for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 20), "a new first hop is no new caller"
    await eventually(lambda: f'"client":"{address}"' in running.first.log_text())


async def test_a_limit_tells_what_is_left_and_when_to_come_again(running: Platform, somewhere: dict[str, str]) -> None:
    answers = [await running.client.get("/api/v1/campaigns", headers=somewhere) for _ in range(21)]
    assert answers[0].headers["ratelimit-policy"] == '"address";q=20;w=60'
    assert answers[0].headers["ratelimit"].startswith('"address";r=')
    last = answers[-1]
    assert (last.status_code, last.json()["code"], last.json()["retryable"]) == (429, "rate_limited", True)
    assert 1 <= int(last.headers["retry-after"]) <= 60
    for probe in ("/livez", "/readyz", "/health", "/metrics"):
        assert (await running.client.get(probe, headers=somewhere)).status_code == 200, "probes are exempt"


async def test_browsers_read_refusals_of_framework_and_edge_as_pages(running: Platform, somewhere: dict[str, str]) -> None:
    browser = {**somewhere, "Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    unknown = await running.client.get("/nowhere", headers=browser)
    method = await running.client.delete("/docs", headers=browser)
    strange = await running.client.post(f"/pay/{new_id()}", content=b"x", headers={**browser, "Content-Type": "text/plain"})
    limited = [await running.client.get(f"/pay/{new_id()}", headers=browser) for _ in range(20)][-1]
    for answer, status in ((unknown, 404), (method, 405), (strange, 415), (limited, 429)):
        assert (answer.status_code, answer.headers["content-type"]) == (status, "text/html; charset=utf-8")
        assert answer.headers["x-request-id"] in answer.text
        assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY
    assert "GET" in method.headers["allow"]
    assert limited.headers["retry-after"] in limited.text
    assert (await running.client.get("/nowhere", headers=somewhere)).json()["code"] == "rate_limited", "programs read on"


async def test_metrics_count_what_the_framework_refuses(running: Platform, somewhere: dict[str, str], callers: Callers) -> None:
    await running.client.get("/nowhere", headers=somewhere)
    await running.client.get(f"{DONATIONS}/export", headers=somewhere)
    await running.client.get(f"{DONATIONS}/export", headers={**somewhere, **callers.user()})
    for _ in range(21):
        await running.client.get("/api/v1/campaigns", headers=somewhere)
    text = (await running.client.get("/metrics")).text
    counted = {line.partition('status="')[2][:3] for line in text.splitlines() if line.startswith("http_requests_total{")}
    assert {"401", "403", "404", "429"} <= counted


async def test_metrics_do_not_tell_of_each_counter_when_it_began(running: Platform) -> None:
    assert "_created{" not in (await running.client.get("/metrics")).text


@pytest.mark.parametrize("path", ["/health", "/nowhere", "/api/v1/campaigns", f"{DONATIONS}/export"])
async def test_every_answer_carries_the_security_headers(running: Platform, somewhere: dict[str, str], path: str) -> None:
    answer = await running.client.get(path, headers=somewhere)
    assert {name: answer.headers.get(name) for name in SECURITY} == SECURITY


async def test_a_line_of_the_log_joins_a_request_to_its_trace_and_its_repeats(
    running: Platform, somewhere: dict[str, str]
) -> None:
    parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    key, request = f"of-{new_id()}", f"line-{new_id().hex}"
    headers = {**somewhere, "X-Request-ID": request, "Idempotency-Key": key, "traceparent": parent}
    await running.client.post(DONATIONS, json={}, headers=headers)
    text = await eventually(lambda: next((one for one in running.first.log_text().splitlines() if request in one), None))
    line = json.loads(text)
    assert (line["request_id"], line["correlation_id"], line["trace_id"]) == (request, request, parent.split("-")[1])
    assert re.fullmatch("[0-9a-f]{16}", line["span_id"])
    assert line["span_id"] != parent.split("-")[2], "the span of this request, not of its caller"
    assert line["idempotency_key"] == hashlib.sha256(key.encode()).hexdigest()[:16]
    assert key not in running.first.log_text()
    assert datetime.fromisoformat(line["timestamp"]).tzinfo is not None
    assert "." in line["timestamp"]


async def test_made_up_methods_are_counted_as_one(running: Platform, somewhere: dict[str, str]) -> None:
    for number in range(3):
        assert (await running.client.request(f"MADEUP{number}", "/", headers=somewhere)).status_code == 405
    metrics = (await running.client.get("/metrics", headers=somewhere)).text
    assert "MADEUP" not in metrics
    assert 'method="other"' in metrics


async def test_13_a_method_that_is_not_there_is_a_405_problem(running: Platform, somewhere: dict[str, str]) -> None:
    answer = await running.client.delete("/api/v1/campaigns", headers=somewhere)
    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")


async def test_the_operations_endpoints_have_their_promised_fields(
    running: Platform, callers: Callers, somewhere: dict[str, str]
) -> None:
    fields = {
        "outbox/statistics": {"processed", "pending", "failed", "dead", "success_rate", "failure_rate", "oldest_age"},
        "inbox/statistics": {"processed", "pending", "failed", "dead", "success_rate", "failure_rate", "oldest_age"},
        "outbox/dead-letter": {"events", "count"},
        "database/connections": {"size", "checked_in", "checked_out", "overflow", "waiting", "total"},
        "database/health": {"status", "latency_ms", "queries", "failures", "error_rate"},
        "health": {"status", "database", "broker", "cache"},
    }
    for path, expected in fields.items():
        answer = await running.client.get(f"/api/v1/admin/donations/{path}", headers={**somewhere, **callers.admin()})
        assert (answer.status_code, set(answer.json()) >= expected) == (200, True), (path, answer.text)
    done = await running.client.post("/api/v1/admin/donations/outbox/process", headers={**somewhere, **callers.admin()})
    assert (done.status_code, done.json()["success"]) == (200, True)


async def test_one_gift_can_be_followed_through_its_trace(running: Platform, callers: Callers, somewhere: dict[str, str]) -> None:
    trace = new_id().hex
    headers = {**somewhere, "traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    await running.client.get("/api/v1/campaigns", headers=headers)
    admin = {"X-Forwarded-For": "198.51.100.1", **callers.admin()}

    async def kept() -> bool:
        async with client_of(running.first.url) as client:
            answer = await client.get(f"/api/v1/admin/traces/{trace}", headers=admin)
        return answer.status_code == 200 and [span["name"] for span in answer.json()["spans"]] == [
            "GET /api/v1/campaigns",
            "query donations",
        ]

    await eventually(kept, every_s=0.5, what="the trace")


@pytest.mark.parametrize(
    ("method", "path", "pointers"),
    [
        ("GET", "/api/v1/campaigns?search=roof&limit=1", ["/search"]),
        ("GET", "/api/v1/campaigns?Status=LIVE&page=2", ["/Status", "/page"]),
        ("GET", f"{DONATIONS}/export?campain_id=1", ["/campain_id"]),
        ("POST", f"{DONATIONS}?dry_run=true", ["/dry_run"]),
        ("GET", "/api/v1/admin/outbox/pending?limt=1", ["/limt"]),
        ("GET", "/api/v1/admin/donations/health?x", ["/x"]),
    ],
)
async def test_a_parameter_that_a_call_does_not_have_is_refused_and_named(
    running: Platform, callers: Callers, somewhere: dict[str, str], method: str, path: str, pointers: list[str]
) -> None:
    answer = await running.client.request(
        method, path, headers={**somewhere, **callers.admin()}, json={} if method == "POST" else None
    )
    assert answer.status_code == 422, answer.text
    assert [(one["pointer"], one["code"]) for one in answer.json()["errors"]] == [(one, "unknown_parameter") for one in pointers]


async def test_a_method_that_a_path_does_not_have_is_told_those_it_has(running: Platform, somewhere: dict[str, str]) -> None:
    for path, methods in (("/api/v1/campaigns", {"GET", "POST", "OPTIONS"}), (DONATIONS, {"POST", "OPTIONS"})):
        answer = await running.client.delete(path, headers=somewhere)
        assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
        assert set(answer.headers["allow"].split(", ")) == methods


@pytest.mark.parametrize("path", ["/livez?x=1", "/?utm_source=mail", "/api/v1/campaigns?limit=1&", "/api/v1/campaigns?&q=roof"])
async def test_probes_and_pages_take_any_address(running: Platform, somewhere: dict[str, str], path: str) -> None:
    assert (await running.client.get(path, headers=somewhere)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/api/v1/campaigns", b"", 200),
        ("POST", DONATIONS, b"gift", 201),
        ("POST", DONATIONS, b"{}", 422),
        ("POST", DONATIONS, b"{", 400),
        ("POST", DONATIONS, b" " * 70_000, 413),
        ("GET", "/api/v1/nowhere", b"", 404),
    ],
)
async def test_pages_of_other_sites_read_whatever_is_answered(
    running: Platform, callers: Callers, somewhere: dict[str, str], method: str, path: str, body: bytes, status: int
) -> None:
    if body == b"gift":
        new = {"title": "Wells", "goal": "10.00", "currency": "EUR", "status": "LIVE"}
        made = await running.client.post("/api/v1/campaigns", json=new, headers={**somewhere, **callers.admin()})
        body = json.dumps({"campaign_id": made.json()["id"], "donor_email": "a@example.org", "amount": "5.00"}).encode()
    for origin, shared in ((SITE, SITE), ("https://evil.example.org", None)):
        headers = {**somewhere, "Content-Type": "application/json", "Origin": origin}
        answer = await running.client.request(method, path, content=body, headers=headers)
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (status, shared), answer.text
        assert answer.headers["vary"] == "Origin", "caches must not give one site what was said to another"
    readable = (await running.client.request(method, path, content=body, headers=headers | {"Origin": SITE})).headers
    assert {"Retry-After", "Idempotent-Replayed", "ETag"} <= set(readable["access-control-expose-headers"].split(", "))


async def test_pages_of_other_sites_are_told_when_to_come_again(running: Platform, somewhere: dict[str, str]) -> None:
    answers = [await running.client.get("/api/v1/campaigns", headers={**somewhere, "Origin": SITE}) for _ in range(21)]
    last = answers[-1]
    assert (last.status_code, last.headers["access-control-allow-origin"]) == (429, SITE)
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "idempotency-key", "Origin": SITE}
    preflight = await running.client.options(DONATIONS, headers={**asked, "X-Forwarded-For": "198.51.100.77"})
    assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, SITE)
