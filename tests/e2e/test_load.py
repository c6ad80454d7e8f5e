"""The load tests' scenarios, played by each tool against a real platform, and against one that loses what it acknowledged."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
import threading
import uuid
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from careforall_testing.journey import Journey

LOADTESTS = Path(__file__).parents[2] / "loadtests"
TOOLS = ["locust", pytest.param("k6", marks=pytest.mark.skipif(not shutil.which("k6"), reason="k6 is not on this machine"))]


async def played(tool: str, url: str, file: Path, *words: str, secret: str = "") -> tuple[int, dict[str, Any], str]:
    """Play the smoke profile in three seconds; return the exit status, the report and what was printed."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "careforall_load", f"--tool={tool}", f"--url={url}", "--seconds=3", f"--json={file}", *words),
        cwd=LOADTESTS,
        env={"PATH": found_on(), "CAREFORALL_LOAD_WEBHOOK_SECRET": secret},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, reported(file), out.decode()


def reported(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(file.read_bytes()) if file.exists() else {}
    return found


def found_on() -> str:
    k6 = shutil.which("k6")
    return "/usr/bin:/bin" + (f":{Path(k6).parent}" if k6 else "")


@pytest.mark.parametrize("tool", TOOLS)
async def test_visitors_give_and_every_gift_is_found(journey: Journey, tool: str, tmp_path: Path) -> None:
    await journey.campaign()
    secret = journey.platform.environment["CAREFORALL_WEBHOOK_SECRETS"]
    status, report, out = await played(tool, journey.platform.first.url, tmp_path / "report.json", "--only=give", secret=secret)
    steps = report["played"]["steps"]
    assert set(steps) == {"give/give", "give/told", "give/told again", "give/gift"}, out
    assert [step["failed"] for step in steps.values()] == [0, 0, 0, 0], out
    assert report["promised"] == steps["give/give"]["requests"] > 0
    assert report["lost"] == []
    assert [one["what"] for one in report["crossed"] if "p9" not in one["what"]] == [], out
    assert status == (1 if report["crossed"] else 0)


class Forgetful(BaseHTTPRequestHandler):
    """Acknowledges every gift and knows none of them afterwards."""

    def do_GET(self) -> None:
        known = self.path.startswith("/api/v1/campaigns")
        items = [{"id": str(uuid.uuid4()), "status": "LIVE", "currency": "EUR"}]
        self._answer(200 if known else 404, {"items": items})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        gift = {"id": str(uuid.uuid4()), "payment_intent": {"id": str(uuid.uuid4())}, "receipt_token": "token"}
        self._answer(201 if self.path.endswith("/donations") else 200, gift)

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(raw)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def forgetful() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Forgetful)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("tool", TOOLS)
async def test_an_acknowledged_gift_that_is_gone_fails_the_run(forgetful: str, tool: str, tmp_path: Path) -> None:
    status, report, out = await played(tool, forgetful, tmp_path / "report.json", "--only=give", "--patience=1")
    assert status == 1, out
    assert len(report["lost"]) == report["promised"] > 0
    assert "lost: /api/v1/donations/" in out


async def test_a_platform_that_is_not_there_is_no_success(tmp_path: Path) -> None:
    status, _, out = await played("locust", "http://127.0.0.1:1", tmp_path / "report.json")
    assert status == 1, out
