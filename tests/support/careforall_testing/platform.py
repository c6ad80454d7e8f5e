"""The platform as real processes: `careforall serve` against given servers, on fresh, migrated databases of its own.

async with platform(servers, ["donations"]) as running:
    answer = await running.client.get("/api/v1/campaigns")
    running.first.kill(); await running.first.restart()

Streams have fixed names, so a platform needs a NATS server of its own (`own_nats`); PostgreSQL and Valkey may be shared.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import httpx2
from msgspec import Struct

from careforall.cli.registry import definition
from careforall.kit import migrate
from careforall.launch.ports import LOOPBACK
from careforall.launch.processes import end_group, spawn, stop_process
from careforall_testing.databases import Databases, connection
from careforall_testing.servers import ServerUrls, own_folder

START_TIMEOUT_S = 40.0
ROOT = Path(__file__).parents[3]
UNLIMITED = "1000000"


class StartFailed(AssertionError):
    """A process ended, or did not become ready; the message carries the end of its log."""


class Cli(Struct, frozen=True, kw_only=True):
    """What a finished command said."""

    status: int
    out: str
    err: str


async def run_cli(words: Sequence[str], environment: Mapping[str, str], *, timeout_s: float, typed: str = "") -> Cli:
    """Run a `careforall` command, which reads what is typed, to its end."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "careforall", *words)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=dict(environment), stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(typed.encode()), timeout_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Cli(status=process.returncode or 0, out=out.decode(), err=err.decode())


class Served:
    """One `careforall serve` process, to stop, kill and start again on the same ports."""

    def __init__(self, services: Sequence[str], *, role: str, environment: Mapping[str, str], log: Path) -> None:
        self.services = tuple(services)
        self.role = role
        self.environment = dict(environment)
        self.log = log
        self._reserved = [_reserved(), _reserved()]
        self.port, self.internal_port = (int(one.getsockname()[1]) for one in self._reserved)
        self.environment.setdefault("CAREFORALL_PUBLIC_URL", self.url)
        self.environment.setdefault("CAREFORALL_INTERNAL_URL", self.internal_url)
        self._process = self._spawn()

    @property
    def url(self) -> str:
        """The public listener."""
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def internal_url(self) -> str:
        """The listener of internal routes."""
        return f"http://{LOOPBACK}:{self.internal_port}"

    @property
    def pid(self) -> int:
        """The process id of the latest start."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def launch(self, **variables: str) -> None:
        """Start again on the same ports, with further variables for good; does not wait."""
        assert not self.alive, "runs already"
        self.environment |= variables
        self._process = self._spawn()

    async def restart(self, **variables: str) -> None:
        """End it the orderly way if it still runs, start it again and wait until it is ready."""
        await self.stop()
        self.launch(**variables)
        await self.wait_ready()

    async def wait_ready(self, *, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the process takes traffic.

        Raises:
            StartFailed: It ended or took too long.
        """
        probes = [f"{self.url}/readyz"]
        if self.role in ("all", "api"):
            probes.append(f"{self.internal_url}/readyz")
        deadline = time.monotonic() + timeout_s
        async with httpx2.AsyncClient(trust_env=False, timeout=2) as client:
            while probes:
                if not self.alive or time.monotonic() > deadline:
                    raise StartFailed(f"{self.services} did not become ready:\n{self.log_text()[-4000:]}")
                if await _answers(client, probes[0]):
                    probes.pop(0)
                else:
                    await asyncio.sleep(0.03)

    async def wait_dead(self, *, timeout_s: float = 20.0) -> int:
        """Wait until the process has ended, by itself or by a signal, and return its status."""
        return await asyncio.to_thread(self._process.wait, timeout_s)

    async def stop(self) -> None:
        """End it the orderly way (SIGTERM); insist after a while."""
        was_alive = self.alive
        await asyncio.to_thread(stop_process, self._process, signal.SIGTERM)
        if was_alive:
            end_group(self._process.pid)

    def release(self) -> None:
        """Let others have the ports; after the last stop."""
        for one in self._reserved:
            one.close()

    def kill(self) -> None:
        """End it as a power cut would (SIGKILL)."""
        if self.alive:
            self._process.kill()
            self._process.wait()
            end_group(self._process.pid)

    def log_text(self) -> str:
        """Everything the process has written so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def _spawn(self) -> subprocess.Popen[bytes]:
        ports = ["--port", str(self.port), "--internal-port", str(self.internal_port)]
        command = [sys.executable, "-m", "careforall", "serve", *self.services, "--role", self.role, *ports]
        return spawn(command, log=self.log, env=self.environment, cwd=ROOT, death_signal=signal.SIGKILL)


class Platform:
    """Processes that share one instance name, one set of databases and one set of secrets."""

    def __init__(self, *, environment: dict[str, str], databases: dict[str, str], folder: Path) -> None:
        self.environment = environment
        self.databases = databases
        self.processes: list[Served] = []
        self._folder = folder
        self._clients = AsyncExitStack()

    @property
    def instance(self) -> str:
        """The instance name."""
        return self.environment["CAREFORALL_INSTANCE"]

    @property
    def first(self) -> Served:
        """The process that was started first."""
        return self.processes[0]

    @property
    def client(self) -> httpx2.AsyncClient:
        """A client of the first process's public listener; its paths begin with a slash."""
        return self._client

    async def serve(self, services: Sequence[str], *, role: str = "all", wait: bool = True, **variables: str) -> Served:
        """Start one more process of this platform."""
        log = self._folder / f"{len(self.processes)}.log"
        served = Served(services, role=role, environment=self.environment | variables, log=log)
        self.processes.append(served)
        if len(self.processes) == 1:
            self.environment["CAREFORALL_PUBLIC_URL"] = served.url
            self.environment["CAREFORALL_INTERNAL_URL"] = served.internal_url
            self._client = await self._clients.enter_async_context(client_of(served.url))
        if wait:
            await served.wait_ready()
        return served

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection to a service's database, for looking and for mischief."""
        async with connection(self.databases[service]) as opened:
            yield opened

    async def cli(self, *words: str, timeout_s: float = 60.0, typed: str = "") -> Cli:
        """Run a `careforall` command in the platform's environment, which reads what is typed."""
        return await run_cli(words, self.environment, timeout_s=timeout_s, typed=typed)

    async def close(self) -> None:
        """Stop every process and close the client."""
        await asyncio.gather(*(process.stop() for process in self.processes))
        for process in self.processes:
            process.release()
        await self._clients.aclose()


@asynccontextmanager
async def platform(
    urls: ServerUrls, services: Sequence[str] = (), *, role: str = "all", databases_of: Sequence[str] = (), **variables: str
) -> AsyncIterator[Platform]:
    """Run services on fresh databases; ends them and drops the databases afterwards.

    Args:
        urls: The servers to work against; their NATS must be nobody else's.
        services: What the first process serves; empty starts none (see `Platform.serve`).
        role: The role of the first process.
        databases_of: The services to make databases for, where more will be served than the first process does.
        variables: Further environment, such as CAREFORALL_HOT_PATHS="false".
    """
    wanted = list(dict.fromkeys((*services, *databases_of)))
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(own_folder())
        databases = {name: await stack.enter_async_context(fresh_database(urls.postgres, name)) for name in wanted}
        running = Platform(environment=environment_of(urls, databases) | variables, databases=databases, folder=folder)
        stack.push_async_callback(running.close)
        if services:
            await running.serve(services, role=role)
        yield running


@asynccontextmanager
async def fresh_database(postgres_url: str, service: str) -> AsyncIterator[str]:
    """The URL of a database of one's own with the service's schema in it, dropped in the end."""
    package = definition(service).package

    async def prepare(url: str) -> None:
        await migrate.migrate(url, migrate.load(package))

    databases = Databases(server_url=postgres_url)
    async with databases.clone(await databases.template(f"service_{service}", prepare)) as url:
        yield url


def environment_of(urls: ServerUrls, databases: Mapping[str, str]) -> dict[str, str]:
    """The variables of a platform: its processes and any command get exactly these."""
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith(("CAREFORALL_", "COV_"))},
        "CAREFORALL_POSTGRES_URL": urls.postgres,
        "CAREFORALL_NATS_URL": urls.nats,
        "CAREFORALL_REDIS_URL": urls.redis,
        "CAREFORALL_ENVIRONMENT": "development",
        "CAREFORALL_INSTANCE": f"test-{secrets.token_hex(4)}",
        "CAREFORALL_SECRET_KEY": secrets.token_hex(32),
        "CAREFORALL_WEBHOOK_SECRETS": secrets.token_hex(32),
        "CAREFORALL_SIMULATOR_SECRETS": secrets.token_hex(32),
        "CAREFORALL_RATE_EVERYONE": UNLIMITED,
        "CAREFORALL_RATE_PER_ADDRESS": UNLIMITED,
        "CAREFORALL_RATE_PER_KEY": UNLIMITED,
        "CAREFORALL_RATE_LOGIN": UNLIMITED,
        **{f"CAREFORALL_{name.upper()}_DATABASE_URL": url for name, url in databases.items()},
    }


def client_of(url: str, *, timeout_s: float = 10.0) -> httpx2.AsyncClient:
    """A client for one listener that ignores the machine's proxies."""
    return httpx2.AsyncClient(base_url=url, trust_env=False, timeout=timeout_s)


def _reserved() -> socket.socket:
    """A port nobody else is given while this socket lives; a server may listen on it, as this does not."""
    holder = socket.socket()
    holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    holder.bind((LOOPBACK, 0))
    return holder


async def _answers(client: httpx2.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).is_success
    except httpx2.HTTPError:
        return False
