"""Real PostgreSQL, NATS and Valkey for tests: one shared set per test run, own ones for tests that break them.

The shared set trades crash safety for speed. Databases are cheap (a clone takes some 15 ms), so a test that writes
takes its own; see `databases`. Fault tests use `own_servers`, which are durable and may be killed.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from careforall.cli.environment import launch_environment
from careforall.launch.binaries import NATS, POSTGRES, VALKEY, Program, find_binary
from careforall.launch.errors import LaunchError
from careforall.launch.identity import unprivileged_identity
from careforall.launch.processes import poll
from careforall.launch.server_process import Server
from careforall.launch.servers import Nats, Postgres, Valkey

CLIENTS, READY, FAILED = "clients.lock", "ready.json", "failed.txt"
START_TIMEOUT_S = 60.0

AnyServer = TypeVar("AnyServer", bound=Server)


class ServerUrls(Struct, frozen=True, kw_only=True):
    """Where the servers of a set answer."""

    postgres: str
    nats: str
    redis: str


class ServerSet(Struct, frozen=True, kw_only=True):
    """Three servers of one's own, to stop, kill and start again."""

    postgres: Postgres
    nats: Nats
    redis: Valkey

    @property
    def urls(self) -> ServerUrls:
        """Where they answer."""
        return ServerUrls(postgres=self.postgres.url, nats=self.nats.url, redis=self.redis.url)

    @classmethod
    @contextmanager
    def running(cls, folder: Path, *, durable: bool = False) -> Iterator[ServerSet]:
        """Start all three in a folder, and stop them in the end."""
        with ExitStack() as stack:
            yield cls(
                postgres=stack.enter_context(running(Postgres, folder, durable=durable)),
                nats=stack.enter_context(running(Nats, folder, durable=durable)),
                redis=stack.enter_context(running(Valkey, folder, durable=durable)),
            )


PROGRAM_OF: Mapping[type[Server], Program] = {Postgres: POSTGRES, Nats: NATS, Valkey: VALKEY}


@contextmanager
def running(kind: type[AnyServer], folder: Path, *, durable: bool = False) -> Iterator[AnyServer]:
    """Start one server in a folder of its own; stop it in the end, thawed if a test left it frozen."""
    environment = launch_environment()
    binary = find_binary(
        PROGRAM_OF[kind],
        servers=environment.places.servers,
        explicit=environment.explicit_binaries,
        path=environment.path,
    )
    data = folder / kind.name
    server = kind(
        binary=binary,
        data=data,
        log=folder / f"{kind.name}.log",
        identity=unprivileged_identity(sudo_user=environment.sudo_user, data=data, program=binary.path),
        durable=durable,
    )
    try:
        server.start()
        yield server
    finally:
        server.thaw()
        server.stop()


@contextmanager
def own_servers(*, durable: bool = True) -> Iterator[ServerSet]:
    """Three servers that belong to the caller alone, for tests that kill, freeze or restart them.

    Enter it in a plain (not async) fixture: processes are started from the main thread only. Inside a running event
    loop use ``server.launch()`` and then ``await asyncio.to_thread(server.wait_ready)`` to start one again.
    """
    with own_folder() as folder, ServerSet.running(folder, durable=durable) as servers:
        yield servers


@contextmanager
def own_nats() -> Iterator[Nats]:
    """A NATS server without any stream."""
    with own_folder() as folder, running(Nats, folder) as server:
        yield server


@contextmanager
def own_redis() -> Iterator[Valkey]:
    """An empty Valkey server."""
    with own_folder() as folder, running(Valkey, folder) as server:
        yield server


@contextmanager
def own_folder() -> Iterator[Path]:
    """A temporary folder the servers' user may pass through; pytest's own are closed to others."""
    with tempfile.TemporaryDirectory(prefix="careforall-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextmanager
def shared_servers(run: str) -> Iterator[ServerUrls]:
    """Join the servers of a test run; whoever comes first has them started, whoever leaves last has them stopped.

    Args:
        run: names the test run; the same for all its workers.
    """
    folder = Path(tempfile.gettempdir()) / f"careforall-run-{os.getuid()}-{run}"
    folder.mkdir(mode=0o711, exist_ok=True)
    with (folder / CLIENTS).open("ab") as clients:
        fcntl.flock(clients, fcntl.LOCK_SH)
        _start_host_once(folder)
        yield _await_ready(folder)


def _start_host_once(folder: Path) -> None:
    with (folder / "start.lock").open("ab") as start:
        fcntl.flock(start, fcntl.LOCK_EX)
        if (folder / "host.pid").exists():
            return
        with (folder / "host.log").open("ab") as log:
            host = subprocess.Popen(
                [sys.executable, "-m", "careforall_testing.server_host", str(folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**launch_environment().variables, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        (folder / "host.pid").write_text(str(host.pid))
        # It outlives this worker on purpose: other workers may still need its servers.
        host.returncode = 0


def _await_ready(folder: Path) -> ServerUrls:
    ready, failed = folder / READY, folder / FAILED
    if not poll(lambda: ready.exists() or failed.exists(), timeout_s=START_TIMEOUT_S):
        raise LaunchError(f"The test servers did not start:\n{(folder / 'host.log').read_text()}")
    if failed.exists():
        raise LaunchError(failed.read_text())
    return msgspec.json.decode(ready.read_bytes(), type=ServerUrls)
