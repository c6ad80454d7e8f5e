"""A Kubernetes cluster under test: kubectl and helm with deadlines, a namespace per test, waiting, forwarding ports.

Any cluster will do: `CAREFORALL_TEST_KUBECONFIG` names its kubeconfig (kind, k3d, a shared one). The images must be there
already, unless `CAREFORALL_TEST_IMAGE_TOOL` names a program that builds and loads them (`TOOL build -t NAME -f FILE .`,
`TOOL load NAME`).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

ROOT = Path(__file__).parents[3]
CHART = ROOT / "charts" / "careforall"
KUBECONFIG = "CAREFORALL_TEST_KUBECONFIG"
NO_SKIP = "CAREFORALL_TEST_NO_SKIP"
IMAGE_TOOL = "CAREFORALL_TEST_IMAGE_TOOL"
IMAGES = {
    "careforall.local/platform:dev": "services/Dockerfile",
    "careforall.local/operator:dev": "operator/Dockerfile",
    "careforall.local/postgres:dev": "charts/careforall/charts/postgres/Dockerfile",
}
"""What values-local.yaml runs, and what each is built from."""
NO_CLUSTER = f"no Kubernetes cluster: set {KUBECONFIG} to the kubeconfig of one"

COMMAND_S = 60.0
POLL_S = 0.25


class CommandFailed(AssertionError):
    """kubectl or helm said no; the message has its words."""


class Cluster(msgspec.Struct, frozen=True, kw_only=True):
    """One namespace of a cluster, or all of it where `namespace` is empty."""

    kubeconfig: str
    namespace: str = ""

    def run(self, *words: str, stdin: str | None = None, timeout: float = COMMAND_S, check: bool = True) -> str:
        """Run a program against the cluster and return what it printed.

        Raises:
            CommandFailed: It failed, or took longer than `timeout` seconds.
        """
        try:
            done = subprocess.run(
                words, input=stdin, env=self.environment(), capture_output=True, text=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise CommandFailed(f"{' '.join(words)}: not done after {timeout:g} s\n{error.stdout!r}\n{error.stderr!r}") from error
        if check and done.returncode:
            raise CommandFailed(f"{' '.join(words)}: exit status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout if check else done.stdout + done.stderr

    def kubectl(self, *words: str, stdin: str | None = None, timeout: float = COMMAND_S, check: bool = True) -> str:
        """Run kubectl in the namespace."""
        scope = ("--namespace", self.namespace) if self.namespace else ()
        return self.run(
            "kubectl", f"--request-timeout={timeout:g}s", *scope, *words, stdin=stdin, timeout=timeout + 5, check=check
        )

    def helm(self, *words: str, timeout: float = 300.0, check: bool = True) -> str:
        """Run helm in the namespace."""
        return self.run("helm", "--namespace", self.namespace, *words, timeout=timeout, check=check)

    def get(self, kind: str, name: str = "", *, selector: str = "") -> Any:
        """Return an object, or the list of those that match."""
        words = [kind, *([name] if name else []), *(["--selector", selector] if selector else [])]
        found = json.loads(self.kubectl("get", *words, "--output=json"))
        return found if name else found["items"]

    def apply(self, *objects: dict[str, Any]) -> None:
        """Apply objects server-side."""
        document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        self.kubectl("apply", "--server-side", "--force-conflicts", "--filename=-", stdin=document)

    def selector(self, service: str) -> dict[str, str]:
        """Return what a Service selects."""
        found: dict[str, str] = self.get("service", service)["spec"].get("selector") or {}
        return found

    def select(self, service: str, selector: Mapping[str, str]) -> None:
        """Change what a Service selects, as a hand does."""
        patch = [{"op": "add", "path": "/spec/selector", "value": dict(selector)}]
        self.kubectl("patch", "service", service, "--type=json", f"--patch={json.dumps(patch)}")

    def rolled_out(self, workload: str, *, timeout: float = 300.0) -> None:
        """Wait until a Deployment or StatefulSet runs as it is written, such as `deployment/careforall-donations`."""
        self.kubectl("rollout", "status", workload, f"--timeout={timeout:g}s", timeout=timeout)

    def until(self, what: str, look: Callable[[], object], *, timeout: float = 60.0) -> Any:
        """Call `look` until it returns something true, and return that.

        Raises:
            AssertionError: It did not within `timeout` seconds; the message has the namespace's pods and newest events.
        """
        deadline = time.monotonic() + timeout
        while True:
            if found := look():
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout:g} s: {what}\n{self.story()}")
            time.sleep(POLL_S)

    def story(self) -> str:
        """What the namespace looks like, for the message of a failed test."""
        pods = self.kubectl("get", "pods", "--output=wide", check=False)
        events = self.kubectl("get", "events", "--sort-by=.lastTimestamp", check=False).splitlines()
        return "\n".join([pods, *events[-40:]])

    @contextlib.contextmanager
    def forward(self, target: str, port: int) -> Iterator[int]:
        """Forward a free port of loopback to a port of `target`, such as `service/careforall-donations`."""
        local = _free_port()
        words = ("kubectl", "--namespace", self.namespace, "port-forward", "--address=127.0.0.1", target, f"{local}:{port}")
        with subprocess.Popen(
            words, env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as process:
            try:
                said = process.stdout.readline() if process.stdout else ""
                if not said.startswith("Forwarding"):
                    raise CommandFailed(f"{' '.join(words)}: {said}")
                yield local
            finally:
                process.terminate()
                process.wait(10)

    @contextlib.contextmanager
    def fresh_namespace(self, name: str) -> Iterator[Cluster]:
        """Make a namespace for one test, held to the restricted profile, and delete it afterwards."""
        full = f"{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')[:40]}-{secrets.token_hex(3)}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted", "careforall.dev/test": "true"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": full, "labels": labels}})
        try:
            yield msgspec.structs.replace(self, namespace=full)
        finally:
            self.kubectl("delete", "namespace", full, "--wait=true", timeout=180)

    def environment(self) -> dict[str, str]:
        """Return the variables that point kubectl and helm at the cluster."""
        return {**os.environ, "KUBECONFIG": self.kubeconfig}


def missing() -> str:
    """Say why there is no cluster to test with; empty where there is one."""
    if not os.environ.get(KUBECONFIG):
        return NO_CLUSTER
    absent = [program for program in ("kubectl", "helm") if shutil.which(program) is None]
    return f"no {' and no '.join(absent)} on PATH" if absent else ""


def skip_or_fail(reason: str) -> None:
    """Skip the test that asks; fail it where `CAREFORALL_TEST_NO_SKIP` says that everything is at hand."""
    if os.environ.get(NO_SKIP):
        pytest.fail(f"{NO_SKIP} is set, but: {reason}")
    pytest.skip(reason)


def connected() -> Cluster:
    """Return the cluster that the environment names."""
    return Cluster(kubeconfig=os.environ[KUBECONFIG])


def ensure_images(names: Sequence[str] = tuple(IMAGES)) -> None:
    """Build and load images, where the environment names a program that can; else they are there already."""
    tool = os.environ.get(IMAGE_TOOL)
    if not tool:
        return
    for name in names:
        subprocess.run([tool, "build", "-t", name, "-f", IMAGES[name], "."], cwd=ROOT, check=True, timeout=900)
    subprocess.run([tool, "load", *names], cwd=ROOT, check=True, timeout=600)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
