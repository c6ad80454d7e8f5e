"""An operator process of one's own on a real API server; without one, one clear line says so and the tests are skipped."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from careforall.launch.ports import free_port
from careforall_testing import cluster as clusters
from careforall_testing.cluster import Cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def api() -> Cluster:
    """The API server that CAREFORALL_TEST_KUBECONFIG names, with our definitions in it."""
    if reason := clusters.missing():
        pytest.skip(reason)
    cluster = clusters.connected()
    cluster.kubectl("apply", "--server-side", "--force-conflicts", f"--kustomize={ROOT / 'manifests' / 'crds'}")
    for name in ("platforms", "databaseswitchovers"):
        cluster.kubectl("wait", "--for=condition=Established", f"crd/{name}.careforall.dev", "--timeout=30s")
    return cluster


@pytest.fixture(name="room")
def fx_room(api: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A namespace for this test alone."""
    with api.fresh_namespace(re.sub(r"^test_", "", request.node.name)) as made:
        yield made


class Running:
    """Operator processes of one test; each may be killed and started again."""

    def __init__(self, room: Cluster, folder: Path) -> None:
        self.room = room
        self.log = folder / "operator.log"
        self.health_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, kubeconfig: str = "", **more: str) -> None:
        """Start the operator on the test's namespace; `more` are its settings by field."""
        settings = {"namespace": self.room.namespace, "health_port": str(self.health_port), "metrics_port": "0", **more}
        environment = {f"CAREFORALL_OPERATOR_{name.upper()}": value for name, value in settings.items()}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "careforall_operator", "run"],
                env={
                    **os.environ,
                    **environment,
                    "KUBECONFIG": kubeconfig or self.room.kubeconfig,
                    "PYTHONPATH": str(ROOT / "operator"),
                },
                stdout=log,
                stderr=log,
            )

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The running process."""
        assert self._process is not None
        return self._process

    def kill(self) -> None:
        """SIGKILL: nothing is put in order."""
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM, and wait for the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)

    def story(self) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text().splitlines()[-30:])


@pytest.fixture(name="operator")
def fx_operator(room: Cluster, tmp_path: Path) -> Iterator[Running]:
    """The operator, not yet started."""
    running = Running(room, tmp_path)
    try:
        yield running
    finally:
        if running._process is not None and running.process.poll() is None:  # noqa: SLF001 - the fixture made it
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.stop()
            running.process.kill()


@pytest.fixture
def objects() -> Callable[..., dict[str, Any]]:
    """Makes objects that tests need."""
    return make


def make(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    """Return a Platform, DatabaseSwitchover, Deployment or PodTemplate."""
    pod = {
        "metadata": {"labels": {"app": name}},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "main",
                    "image": "careforall.local/platform:dev",
                    "env": [{"name": "A", "value": "b"}],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }
    if kind == "PodTemplate":
        return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "template": pod}
    if kind == "Deployment":
        labels = {"careforall.dev/service": name}
        body = {"selector": {"matchLabels": {"app": name}}, "template": pod, **spec}
        return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": f"cfa-{name}", "labels": labels}, "spec": body}
    return {"apiVersion": "careforall.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
