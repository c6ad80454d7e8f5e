"""How the answers of `/readyz` and `/health` become one word per service."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager

import pytest

from careforall.launch.health import first_campaign, service_states
from careforall.launch.ports import free_port, is_free, port_or_free

Answers = dict[str, tuple[int, object]]
Platform = Callable[[Answers], AbstractContextManager[int]]


LATE = "seconds of work before each answer"


@pytest.fixture
def platform() -> Platform:
    @contextmanager
    def serve(answers: Answers) -> Iterator[int]:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                threading.Event().wait(answers.get(LATE, (0, None))[0])
                status, body = answers.get(self.path, (404, None))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_: object) -> None:
                return

        with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
            thread.start()
            try:
                yield server.server_address[1]
            finally:
                server.shutdown()
                thread.join()

    return serve


def words(processes: Mapping[str, int], known: Sequence[str] = ()) -> dict[str, str]:
    return {name: found.word for name, found in service_states(processes, known).items()}


def notes(processes: Mapping[str, int], known: Sequence[str] = ()) -> dict[str, tuple[str, ...]]:
    return {name: found.notes for name, found in service_states(processes, known).items()}


def test_nobody_answering_is_down() -> None:
    assert words({"api": free_port()}, ["donations"]) == {"donations": "down"}
    assert words({"api": 0}, ["donations"]) == {"donations": "down"}


def test_unready_is_down_whatever_health_says(platform: Platform) -> None:
    with platform({"/readyz": (503, {}), "/health": (200, {"status": "ready"})}) as port:
        assert words({"api": port}, ["donations"]) == {"donations": "down"}


def test_the_example_is_a_campaign_that_takes_gifts(platform: Platform) -> None:
    ended, live = ({"items": [{"id": name, "status": name}]} for name in ("ENDED", "LIVE"))
    answers: Answers = {"/api/v1/campaigns?limit=1": (200, ended), "/api/v1/campaigns?status=LIVE&limit=1": (200, live)}
    with platform(answers) as port:
        assert first_campaign(port) == "LIVE"


def test_health_tells_services_apart(platform: Platform) -> None:
    services = {"donations": {"status": "ready"}, "payments": {"status": "degraded"}, "totals": "down"}
    with platform({"/readyz": (200, {}), "/health": (200, {"status": "degraded", "services": services})}) as port:
        found = words({"api": port}, ["donations", "payments", "totals", "orders"])
    assert found == {"donations": "ready", "payments": "degraded", "totals": "down"}


def test_a_process_in_the_background_counts_with_what_it_says(platform: Platform) -> None:
    def telling(status: str) -> Answers:
        return {"/readyz": (200, {}), "/health": (200, {"services": {"donations": status, "totals": "ready"}})}

    with platform(telling("ready")) as port, platform(telling("degraded")) as other:
        assert words({"api": port, "relay": other}) == {"donations": "degraded", "totals": "ready"}
        away = {"api": port, "relay": free_port()}
        assert words(away) == {"donations": "degraded", "totals": "degraded"}
        assert notes(away) == {"donations": ("not ready (relay)",), "totals": ("not ready (relay)",)}


def test_it_is_told_what_is_away_and_for_whom(platform: Platform) -> None:
    def telling(**donations: object) -> Answers:
        up = {"status": "degraded", "database": "up", "broker": "up", "cache": "down", "notes": {}}
        sync = {"status": "ready", "database": "up", "broker": "up", "cache": "up", "notes": {"stripe": "off: no key"}}
        return {"/readyz": (200, {}), "/health": (200, {"services": {"donations": up | donations, "sync": sync}})}

    with platform(telling()) as port, platform(telling(database="down")) as other:
        found = notes({"api": port, "consumers": other})
    assert found == {"donations": ("cache down", "database down (consumers)"), "sync": ("stripe off: no key",)}


def test_a_busy_process_is_waited_for(platform: Platform) -> None:
    calm: Answers = {"/readyz": (200, {}), "/health": (200, {})}
    with platform(calm) as port, platform({**calm, LATE: (3, None)}) as busy:
        states = service_states({"api": port, "consumers": busy}, ["donations"])
    assert states["donations"].word == "ready"


def test_ready_without_details_is_ready(platform: Platform) -> None:
    with platform({"/readyz": (200, {}), "/health": (200, {})}) as port:
        assert words({"api": port}, ["donations"]) == {"donations": "ready"}


def test_a_taken_port_gives_way_to_a_free_one(platform: Platform) -> None:
    with platform({}) as taken:
        assert not is_free(taken)
        assert port_or_free(taken) != taken
    other = free_port()
    assert port_or_free(other) == other
