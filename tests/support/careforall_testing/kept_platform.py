"""A small platform on a cluster, kept by the operator: the umbrella with the database of three and as few services as do.

Everything is named after the release of the writers, so that `patroni` finds its way here too.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

import msgspec
import pytest
import yaml

from careforall_testing.cluster import CHART, ROOT, Cluster, CommandFailed
from careforall_testing.patroni import RELEASE, Patroni, WriteReport, start_client

SERVICES = ("donations", "totals", "simulator")
OPERATOR = f"{RELEASE}-operator"
WRITE_SERVICE = f"{RELEASE}-postgres-rw"
PATIENCE = float(os.environ.get("CAREFORALL_TEST_PATIENCE", "1"))
GAP_S = 5.0 * PATIENCE
EXACT_S = 1.0 * PATIENCE
REPAIRED_S = 5.0 * PATIENCE
REPORT = ROOT / ".care" / "reports" / "operator-failover.json"
"""Keeps what writers saw and operators told, by fault."""
_WATCH = """
import asyncio, os, nats

async def main():
    client = await nats.connect(os.environ["CAREFORALL_NATS_URL"])
    heard = await client.jetstream().subscribe("$KV.cfa-flags.degraded", ordered_consumer=True)
    async for message in heard.messages:
        print(message.data.decode() or "{}", flush=True)

asyncio.run(main())
"""


class Report(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A failover's report, as far as tests read it."""

    id: str
    start_time: datetime
    planned: bool = False
    old_primary: str = ""
    new_primary: str = ""
    timeline: int = 0
    write_time: datetime | None = None
    detect_seconds: float = 0.0
    promote_seconds: float = 0.0
    endpoint_seconds: float = 0.0
    rto_seconds: float = 0.0
    lost_bytes_estimate: int | None = None
    reconciliation_job: str = ""
    result: str = ""


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """The platform and what the operator says of it."""

    cluster: Cluster

    @property
    def patroni(self) -> Patroni:
        """Its database."""
        return Patroni(cluster=self.cluster)

    def status(self) -> dict[str, Any]:
        """The Platform's status."""
        return dict(self.cluster.get("cfa", RELEASE).get("status") or {})

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and reason of a condition."""
        found = (one for one in self.status().get("conditions") or [] if one["type"] == kind)
        return next(((one["status"], one["reason"]) for one in found), ("", ""))

    def at_rest(self) -> bool:
        """Whether everything is served and no failover is under way."""
        wanted = {"Ready": "True", "WritesEnabled": "True", "FailoverInProgress": "False"}
        alone = len((self.status().get("database") or {}).get("replicas") or []) == 1
        wanted |= {} if alone else {"DatabaseRedundant": "True"}
        return all(self.condition(kind)[0] == answer for kind, answer in wanted.items())

    def timeline(self) -> int:
        """The newest timeline that the operator has seen."""
        return int((self.status().get("database") or {}).get("timeline") or 0)

    def report(self, timeline: int) -> Report | None:
        """The finished report of a timeline; None as long as there is none."""
        history = (self.status().get("database") or {}).get("failoverHistory") or []
        found = [one for one in history if one.get("timeline") == timeline and one["result"] != "InProgress"]
        return msgspec.convert(found[0], Report) if found else None

    def reported(self, timeline: int, *, timeout: float = 120) -> Report:
        """Wait for the report of a timeline."""
        return msgspec.convert(
            self.cluster.until(f"the report of timeline {timeline}", lambda: self.report(timeline), timeout=timeout), Report
        )

    def jobs(self) -> dict[str, bool]:
        """The reconciliation Jobs and whether each ended well."""
        found = self.cluster.get("jobs", selector=f"careforall.dev/platform={RELEASE},app.kubernetes.io/name=reconcile")
        return {one["metadata"]["name"]: bool(one["status"].get("succeeded")) for one in found}

    def failed_over(
        self, fault: str, old: str, befalls: Callable[[], object], *, longest: float = GAP_S, exact: float = EXACT_S
    ) -> tuple[Report, WriteReport]:
        """Let something befall the primary while connections write, and compare what they saw with what the operator tells.

        Args:
            fault: What it is called where the figures of both are kept.
            old: The primary.
            befalls: Does it.
            longest: Seconds without writes that are allowed.
            exact: Seconds by which both may differ about that.
        """
        before = self.timeline()
        with self.patroni.writing() as writing:
            befalls()
            new = self.patroni.taken_over(writing, old)
            seen = writing.finish()
        report = self.reported(before + 1)
        self.cluster.until("services left", lambda: self.condition("OldTimelineLeft") == ("True", "AllLeft"))
        _store(fault, seen, report)
        assert seen.lost == 0, seen
        assert seen.gap_seconds <= longest, seen
        assert (report.old_primary, report.new_primary, report.lost_bytes_estimate) == (old, new, 0)
        assert report.rto_seconds == pytest.approx(seen.gap_seconds, abs=exact), (report, seen)
        assert report.detect_seconds <= report.promote_seconds <= report.endpoint_seconds <= report.rto_seconds
        assert self.endpoints() == [new]
        self.cluster.until("one primary", lambda: self.patroni.primaries() == [new], timeout=REPAIRED_S)
        return report, seen

    def events(self, reason: str) -> list[str]:
        """Messages of the Events of a reason."""
        return [one["message"] for one in self.cluster.get("events") if one["reason"] == reason]

    def endpoints(self) -> list[str]:
        """The ready pods behind the write Service."""
        slices = self.cluster.get("endpointslices", selector=f"kubernetes.io/service-name={WRITE_SERVICE}")
        ready = [one for found in slices for one in found.get("endpoints") or [] if one["conditions"].get("ready")]
        return sorted(one["targetRef"]["name"] for one in ready)

    def kill_operator(self) -> None:
        """SIGKILL to the operator; its Deployment starts another one."""
        pods = self.cluster.get("pods", selector="app.kubernetes.io/name=operator")
        for pod in pods:
            self.cluster.kubectl("delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--wait=false")

    def within(self, service: str, script: str, *, check: bool = True, timeout: float = 60) -> str:
        """Run a Python script in a service's container."""
        words = ("exec", f"deployment/{RELEASE}-{service}", "-c", "service", "--", "python", "-c", script)
        return self.cluster.kubectl(*words, check=check, timeout=timeout)

    @contextlib.contextmanager
    def hearing(self) -> Iterator[list[dict[str, Any]]]:
        """Hear what services are told of degraded mode, from a service's own pod, until the block ends."""
        heard: list[dict[str, Any]] = []
        words = (
            "kubectl",
            "--namespace",
            self.cluster.namespace,
            "exec",
            f"deployment/{RELEASE}-donations",
            "-c",
            "service",
            "--",
        )
        with subprocess.Popen(
            (*words, "python", "-c", _WATCH), env=self.cluster.environment(), stdout=subprocess.PIPE, text=True
        ) as process:

            def read() -> None:
                heard.extend({**json.loads(line), "heard_at": time.time()} for line in process.stdout or ())

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            try:
                yield heard
            finally:
                process.terminate()
                reader.join(10)


@contextlib.contextmanager
def kept(cluster: Cluster, values: Mapping[str, Any] | None = None) -> Iterator[Kept]:
    """Install the platform in a namespace of its own, with a pod that writes to its database."""
    with cluster.fresh_namespace("kept") as namespace:
        chosen = yaml.safe_dump(_merged(small(), dict(values or {})))
        words = ("install", RELEASE, str(CHART), "--values", str(CHART / "values-local.yaml"), "--values", "-")
        try:
            namespace.run("helm", "--namespace", namespace.namespace, *words, "--wait", "--timeout=5m", stdin=chosen, timeout=320)
        except CommandFailed as error:
            raise AssertionError(f"{error}\n{namespace.story()}") from error
        made = Kept(cluster=namespace)
        made.patroni.settled()
        start_client(namespace)
        namespace.until("all at rest", made.at_rest, timeout=120)
        yield made


def small() -> dict[str, Any]:
    """Values of few services and no door."""
    every = yaml.safe_load((CHART / "charts" / "services" / "values.yaml").read_text())["services"]
    others = {name: {"enabled": False} for name in every if name not in SERVICES}
    return {
        "demo": {"enabled": False},
        "admin": {"email": ""},
        "gateway": {"enabled": False},
        "services": {"services": others},
    }


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Lay values on top of others, as Helm does."""
    both = {key for key in below.keys() & above.keys() if isinstance(below[key], dict) and isinstance(above[key], dict)}
    return {**below, **above, **{key: _merged(below[key], above[key]) for key in both}}


def _store(fault: str, seen: WriteReport, report: Report) -> None:
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(REPORT.read_text()) if REPORT.exists() else {}
    both = {"writers": msgspec.to_builtins(seen), "operator": msgspec.to_builtins(report)}
    REPORT.write_text(json.dumps({**known, fault: both}, indent=2) + "\n")
