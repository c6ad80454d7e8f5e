"""The load tests' scenarios, played by each tool against a real platform, and against one that loses what it acknowledged."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from careforall_testing.journey import Journey
from careforall_testing.polling import eventually
from careforall_testing.shopping import product, sku

LOADTESTS = Path(__file__).parents[2] / "loadtests"
TOOLS = ["locust", pytest.param("k6", marks=pytest.mark.skipif(not shutil.which("k6"), reason="k6 is not on this machine"))]

BUYING = ("sign up", "sign in", "address", "product", "add", "checkout", "pay", "order")


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


async def shelved(journey: Journey, on_hand: int) -> str:
    """Put a product on the shelf, and wait until the shop shows it."""
    code = sku("LOAD")
    body = product(name="Cotton mug", variants=[{"sku": code}])
    made = await journey.client.post("/api/v1/admin/products", json=body, headers=journey.admin)
    assert made.status_code == 201, made.text
    stocked = {"sku": code, "on_hand": on_hand}
    counted = await journey.client.put("/api/v1/admin/inventory", json=stocked, headers=journey.admin)
    assert counted.status_code in {200, 201}, counted.text

    async def shown() -> bool:
        async with journey.platform.database("catalog") as database:  # the page itself would be kept as it was too early
            return bool(await database.fetchval("SELECT available > 0 FROM stock WHERE sku = $1", code))

    await eventually(shown, within_s=30, what="a product in stock")
    return code


@pytest.mark.parametrize("tool", TOOLS)
async def test_visitors_buy_and_every_order_is_found(journey: Journey, tool: str, tmp_path: Path) -> None:
    await shelved(journey, 1000)
    status, report, out = await played(tool, journey.platform.first.url, tmp_path / "report.json", "--only=buy")
    steps = report["played"]["steps"]
    assert list(steps) == [f"buy/{step}" for step in BUYING], out
    assert [step["failed"] for step in steps.values()] == [0] * len(BUYING), out
    assert report["promised"] == steps["buy/pay"]["requests"] > 0
    assert report["lost"] == []
    assert status == (1 if report["crossed"] else 0)


@pytest.mark.parametrize("tool", TOOLS)
async def test_visitors_browse_and_fill_carts(journey: Journey, tool: str, tmp_path: Path) -> None:
    await shelved(journey, 1000)
    words = ("--only=browse", "--only=fill")
    _, report, out = await played(tool, journey.platform.first.url, tmp_path / "report.json", *words)
    steps = report["played"]["steps"]
    assert {"browse/products", "browse/search", "browse/product"} <= set(steps), out
    assert [step["failed"] for step in steps.values()] == [0] * len(steps), out


@pytest.mark.parametrize("tool", TOOLS)
async def test_what_is_sold_out_ends_a_visit_and_fails_nothing(forgetful: str, tool: str, tmp_path: Path) -> None:
    status, report, out = await played(tool, forgetful, tmp_path / "report.json", "--only=fill")
    steps = report["played"]["steps"]
    assert set(steps) == {"fill/product", "fill/add"}, out
    assert [step["failed"] for step in steps.values()] == [0, 0], out
    assert [one["what"] for one in report["crossed"] if "p9" not in one["what"]] == [], out
    assert status == (1 if report["crossed"] else 0)


@pytest.mark.parametrize("tool", TOOLS)
async def test_an_acknowledged_gift_that_is_gone_fails_the_run(forgetful: str, tool: str, tmp_path: Path) -> None:
    status, report, out = await played(tool, forgetful, tmp_path / "report.json", "--only=give", "--patience=1")
    assert status == 1, out
    assert len(report["lost"]) == report["promised"] > 0
    assert "lost: /api/v1/donations/" in out


async def test_a_platform_that_is_not_there_is_no_success(tmp_path: Path) -> None:
    status, _, out = await played("locust", "http://127.0.0.1:1", tmp_path / "report.json")
    assert status == 1, out
