"""Drives a real launcher process from a test: start it, read what it wrote, see what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from careforall.cli.environment import launch_environment
from careforall.launch.health import get
from careforall.launch.places import find_places
from careforall.launch.processes import is_running, poll
from careforall.launch.state import InstanceFolder, Running, State

READY_TIMEOUT_S = 60.0
END_TIMEOUT_S = 20.0


class LaunchedPlatform:
    """One launcher of stand-ins.

    Args:
        state_dir: its state folder, prepared by `prepared_state_dir`.
        options: further options of `careforall_testing.stand_in`.
    """

    def __init__(self, state_dir: Path, *options: str, instance: str = "default") -> None:
        self.instance = instance
        places = find_places(root=launch_environment().places.root, state_dir=str(state_dir), uid=os.getuid())
        self.folder = InstanceFolder(places.instance(instance))
        self.command = [
            *(sys.executable, "-m", "careforall_testing.stand_in", str(state_dir)),
            *("--instance", instance, "--port", "0", *options),
        ]
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start the launcher without waiting."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=stand_in_environment(),
            start_new_session=True,
        )

    def start_and_wait(self) -> State:
        """Start the launcher and wait until it says that the platform is ready."""
        self.start()
        assert self.process is not None
        assert poll(self._settled, timeout_s=READY_TIMEOUT_S)
        assert self.process.poll() is None, self.output()
        return self.state()

    def state(self) -> State:
        """What the launcher noted."""
        state = self.folder.read_state()
        assert state is not None
        return state

    def running(self) -> dict[str, Running]:
        """The processes it noted, by name."""
        return {entry.name: entry for entry in self.folder.read_running()}

    def signal(self, what: signal.Signals) -> None:
        """Signal the launcher alone."""
        assert self.process is not None
        self.process.send_signal(what)

    def wait(self) -> int:
        """Wait for its end."""
        assert self.process is not None
        return self.process.wait(timeout=END_TIMEOUT_S)

    def output(self) -> str:
        """What it wrote, after its end."""
        assert self.process is not None
        return self.process.communicate(timeout=END_TIMEOUT_S)[0]

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=END_TIMEOUT_S)

    def _settled(self) -> bool:
        assert self.process is not None
        state = self.folder.read_state()
        ready = state is not None and state.ready and state.launcher_pid == self.process.pid
        return ready or self.process.poll() is not None


@contextmanager
def launched(state_dir: Path, *options: str, instance: str = "default") -> Iterator[LaunchedPlatform]:
    """A launcher that is ended in the end, whatever happened."""
    platform = LaunchedPlatform(state_dir, *options, instance=instance)
    try:
        yield platform
    finally:
        platform.close()


def prepare_state_dir(folder: Path) -> None:
    """Let a state folder use the servers that are installed already."""
    servers = launch_environment().places.servers
    if servers.exists():
        (folder / servers.name).symlink_to(servers)


def stand_in_environment() -> dict[str, str]:
    """The environment a stand-in needs to find this package, without server URLs of the caller."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CAREFORALL_")}
    explicit = launch_environment().explicit_binaries
    return {**variables, **explicit, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def all_gone(entries: dict[str, Running], *, timeout_s: float) -> bool:
    """Whether all these processes end in time."""
    return poll(lambda: not any(is_running(entry.pid, entry.start) for entry in entries.values()), timeout_s=timeout_s)


def ask(port: int, path: str) -> dict[str, str]:
    """A JSON answer of a stand-in."""
    status, body = get(port, path)
    assert status == 200, json.dumps({"path": path, "status": status})
    assert isinstance(body, dict)
    return body
