"""The real Prometheus and its promtool, where they are on PATH (Debian's package `prometheus`)."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import yaml

from careforall.launch.ports import LOOPBACK, free_port
from careforall.launch.processes import spawn, stop_process
from careforall_testing.cluster import skip_or_fail
from careforall_testing.polling import eventually

NO_PROMTOOL = "no promtool on PATH: Debian's package prometheus has it"
NO_PROMETHEUS = "no prometheus on PATH: Debian's package prometheus has it"
_START_S = 30.0


def promtool(*words: str) -> subprocess.CompletedProcess[str]:
    """Run promtool; without one, one clear line says so."""
    if (program := shutil.which("promtool")) is None:
        skip_or_fail(NO_PROMTOOL)
    return subprocess.run([program or "", *words], capture_output=True, text=True, timeout=120, check=False)


class Prometheus(msgspec.Struct, frozen=True, kw_only=True):
    """A running Prometheus."""

    client: httpx2.AsyncClient

    async def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the samples of an expression now.

        Raises:
            AssertionError: It is no PromQL, or cannot be answered.
        """
        answer = await self.client.get("/api/v1/query", params={"query": expr})
        said = answer.json()
        assert said["status"] == "success", f"{expr}: {said.get('error')}"
        found = said["data"]["result"]
        return [{"metric": {}, "value": found}] if said["data"]["resultType"] == "scalar" else found

    async def rules(self) -> list[dict[str, Any]]:
        """Return every rule with how its last evaluation went."""
        groups = (await self.client.get("/api/v1/rules")).json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    async def settled(self) -> None:
        """Wait until each target was scraped three times more, so that rates count what was done before."""
        scraped = "min(count_over_time(up[1h]))"
        before = float((await self.query(scraped))[0]["value"][1])

        async def look() -> bool:
            return float((await self.query(scraped))[0]["value"][1]) >= before + 3

        await eventually(look, within_s=60, what="three more scrapes")

    async def targets_up(self, count: int) -> None:
        """Wait until so many targets were scraped."""

        async def look() -> bool:
            return len(await self.query("up == 1")) >= count

        await eventually(look, within_s=60, what=f"{count} targets up")


@asynccontextmanager
async def prometheus(targets: Mapping[str, list[str]], folder: Path, *, rules: Sequence[Path] = ()) -> AsyncIterator[Prometheus]:
    """Run a Prometheus of one's own that scrapes addresses, by job, each second, and evaluates rules."""
    if (program := shutil.which("prometheus")) is None:
        skip_or_fail(NO_PROMETHEUS)
    config = folder / "prometheus.yaml"
    config.write_text(yaml.safe_dump(_config(targets, rules)))
    port = free_port()
    command = [
        program or "",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={LOOPBACK}:{port}",
    ]
    process = spawn(command, log=folder / "prometheus.log", env={}, cwd=folder, death_signal=signal.SIGKILL)
    try:
        async with httpx2.AsyncClient(base_url=f"http://{LOOPBACK}:{port}", trust_env=False, timeout=10) as client:
            await eventually(lambda: _ready(client), within_s=_START_S, what="Prometheus")
            yield Prometheus(client=client)
    finally:
        await asyncio.to_thread(stop_process, process, signal.SIGTERM)


def _config(targets: Mapping[str, list[str]], rules: Sequence[Path]) -> dict[str, Any]:
    jobs = [
        {"job_name": job, "honor_labels": True, "static_configs": [{"targets": addresses}]} for job, addresses in targets.items()
    ]
    often = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "5s"}
    return {"global": often, "rule_files": [str(one) for one in rules], "scrape_configs": jobs}


async def _ready(client: httpx2.AsyncClient) -> bool:
    try:
        return (await client.get("/-/ready")).is_success
    except httpx2.TransportError:
        return False
