"""The real OpenTelemetry collector with the configuration that the chart renders, where its program is at hand.

It is no package of Debian's, so tests without it are skipped, also where nothing else may be.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import yaml

from careforall.launch.ports import LOOPBACK, free_port
from careforall.launch.processes import spawn, stop_process
from careforall_testing.charts import named, objects, rendered
from careforall_testing.polling import eventually

COLLECTOR = "CAREFORALL_TEST_COLLECTOR"
NO_COLLECTOR = f"no OpenTelemetry collector: put otelcol-contrib on PATH, or set {COLLECTOR} to it"
IMAGE = "CAREFORALL_TEST_COLLECTOR_IMAGE"
NO_IMAGE = f"no image of the OpenTelemetry collector: set {IMAGE} to one that the cluster can have"
NAME = "careforall-collector"
_START_S = 30.0


class Collector(msgspec.Struct, frozen=True, kw_only=True):
    """A running collector and where it answers, by the names of its pod's ports."""

    ports: Mapping[str, int]
    log: Path
    process: subprocess.Popen[bytes]

    @property
    def otlp_url(self) -> str:
        """What `global.otlpUrl` is in a cluster."""
        return f"{self.url('otlp-http')}/v1/traces"

    def url(self, port: str) -> str:
        """The base URL of a port."""
        return f"http://{LOOPBACK}:{self.ports[port]}"

    def complaints(self) -> list[str]:
        """Lines of its log that are more than information."""
        return [line for line in self.log.read_text().splitlines() if "\tinfo\t" not in line]

    async def stop(self) -> None:
        """Tell it to end as a kubelet does, and wait until it has."""
        await asyncio.to_thread(stop_process, self.process, signal.SIGTERM)

    async def killed(self) -> None:
        """Kill it."""
        await asyncio.to_thread(stop_process, self.process, signal.SIGKILL)


def configuration(*sets: str) -> dict[str, Any]:
    """Return the collector's configuration as the chart renders it."""
    found: dict[str, Any] = yaml.safe_load(written(rendered("everything", *sets)))
    return found


def written(chart: str) -> str:
    """Return the collector's configuration in a rendered chart, letter by letter."""
    return str(named(objects(chart), "ConfigMap", NAME)["data"]["collector.yaml"])


def program() -> str:
    """Return the collector's path; skip the test that asks where there is none."""
    found = os.environ.get(COLLECTOR) or shutil.which("otelcol-contrib")
    if not found:
        pytest.skip(NO_COLLECTOR)
    return found


def image() -> str:
    """Return the image that clusters are to run; skip the test that asks where nobody names one."""
    found = os.environ.get(IMAGE, "")
    if not found:
        pytest.skip(NO_IMAGE)
    return found


def refused(config: str, folder: Path) -> str:
    """Return what the collector has against a configuration; nothing where it takes it."""
    file = folder / "collector.yaml"
    file.write_text(config)
    command = [program(), "validate", f"--config={file}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=_environment())
    return done.stdout + done.stderr if done.returncode else ""


@asynccontextmanager
async def collector(config: dict[str, Any], folder: Path) -> AsyncIterator[Collector]:
    """Run a collector with a configuration of which nothing but the listening addresses is changed."""
    ports = {"otlp-http": free_port(), "health": free_port(), "metrics": free_port()}
    file, log = folder / "collector.yaml", folder / "collector.log"
    file.write_text(yaml.safe_dump(_on_loopback(config, ports)))
    command = [program(), f"--config={file}"]
    process = spawn(command, log=log, env=_environment(), cwd=folder, death_signal=signal.SIGKILL)
    found = Collector(ports=ports, log=log, process=process)
    try:
        await eventually(lambda: _healthy(found), within_s=_START_S, what="the collector")
        yield found
    finally:
        await found.killed()


def _on_loopback(config: dict[str, Any], ports: Mapping[str, int]) -> dict[str, Any]:
    """Return a configuration that listens at free ports."""
    moved: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(config))
    moved["receivers"]["otlp"]["protocols"]["http"]["endpoint"] = f"{LOOPBACK}:{ports['otlp-http']}"
    moved["extensions"]["health_check"]["endpoint"] = f"{LOOPBACK}:{ports['health']}"
    reader = moved["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]["prometheus"]
    reader |= {"host": LOOPBACK, "port": ports["metrics"]}
    return moved


def _environment() -> dict[str, str]:
    return {"TRACES_TOKEN": "token-of-the-test"}


async def _healthy(found: Collector) -> bool:
    if found.process.poll() is not None:
        raise AssertionError(found.log.read_text())
    try:
        async with httpx2.AsyncClient(trust_env=False, timeout=5) as client:
            return (await client.get(found.url("health"))).is_success
    except httpx2.TransportError:
        return False
