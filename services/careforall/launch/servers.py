"""PostgreSQL, NATS and Valkey: how each is set up, started and asked whether it is ready.

Used by ``careforall up`` (durable) and by the tests (not durable, and killed on purpose). A server counts as ready only
when it answered a real question *and* proved to be ours: another server may sit on the port we had in mind.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import secrets
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import redis

from careforall.launch.binaries import version_tuple
from careforall.launch.errors import LaunchError
from careforall.launch.ports import LOOPBACK, free_port
from careforall.launch.processes import die_with_parent
from careforall.launch.server_process import Server, clean_environment

ACCOUNT = "careforall"
NATS_SYNC_INTERVAL = "2m"
NATS_MAX_PAYLOAD = 1024 * 1024
INITDB = ("--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--username={ACCOUNT}")
INITDB_LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")  # PostgreSQL 17 and later
POSTGRES_SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "300",
    "shared_buffers": "128MB",
}
POSTGRES_DURABLE_SETTINGS = {
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
}
"""With the defaults a rush brings a checkpoint every forty seconds. Its fsyncs hold up every COMMIT, half a second at a
time, and after it each page is written to the log as a whole again.
"""
POSTGRES_FAST_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
}


class Postgres(Server):
    """A PostgreSQL cluster with one superuser."""

    name = "postgres"
    stop_signal = signal.SIGINT

    @property
    def url(self) -> str:
        """URL of the maintenance database."""
        return self.database_url("postgres")

    def database_url(self, database: str) -> str:
        """URL of one database on this server."""
        return f"postgresql://{ACCOUNT}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    def prepare(self) -> None:
        """Run initdb unless it was finished before; half-made data is made again."""
        marker = self.data.with_name(self.data.name + ".ready")
        if marker.exists():
            return
        if (self.data / "PG_VERSION").exists():
            shutil.rmtree(self.data)
        self.make_folder(self.data)
        self._initdb()
        marker.touch(mode=0o600)

    def command(self) -> list[str]:
        """``postgres`` in the foreground; settings on the command line, so a new version's always hold."""
        pace = POSTGRES_DURABLE_SETTINGS if self.durable else POSTGRES_FAST_SETTINGS
        settings = {**POSTGRES_SETTINGS, **pace, "port": str(self.port)}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(self.binary.path), "-D", str(self.data), *options]

    def probe(self) -> bool:
        """Ask for the data directory: it must be ours."""
        answer = _in_new_loop(_ask_postgres, self.url)
        return answer is not None and Path(answer).resolve() == self.data.resolve()

    def _initdb(self) -> None:
        reading, writing = os.pipe()
        try:
            os.write(writing, f"{self.password}\n".encode())
            os.close(writing)
            if self.identity.uid is not None and self.identity.gid is not None:
                os.fchown(reading, self.identity.uid, self.identity.gid)
            answer = subprocess.run(
                [*self.identity.prefix, str(self.binary.sibling("initdb")), *self._initdb_options(reading)],
                capture_output=True,
                text=True,
                cwd="/",
                env=clean_environment(),
                pass_fds=(reading,),
                check=False,
                start_new_session=True,  # Ctrl-C is for the launcher
                preexec_fn=die_with_parent(signal.SIGKILL),  # or it would clear away what the next launcher makes there
                **self.identity.popen_arguments,
            )
        finally:
            os.close(reading)
        if answer.returncode != 0:
            raise LaunchError(f"initdb could not make {self.data}:\n{answer.stderr.strip()}")

    def _initdb_options(self, password_file: int) -> list[str]:
        options = [*INITDB, f"--pwfile=/dev/fd/{password_file}", f"--pgdata={self.data}"]
        if version_tuple(self.binary.version) >= (17,):
            options += INITDB_LOCALE
        return options if self.durable else [*options, "--no-sync", "--set=scram_iterations=1"]


_FILE_STORE = "1TB"
"""What streams may reserve together, their ceilings and not their size; by default a share of the disk."""

_WRITE_ERROR = "write error"
"""How the server says that a stream could not be written once; it does not try again, not even when there is room."""
_ROOM = 100_000_000


class Nats(Server):
    """A NATS server with JetStream on disk."""

    name = "nats"

    def __init__(self, *, sync_interval: str = NATS_SYNC_INTERVAL, **common: Any) -> None:
        super().__init__(**common)
        self.sync_interval = sync_interval
        self.monitor_port = 0
        self._server_name = ""

    @property
    def url(self) -> str:
        """URL with the account in it."""
        return f"nats://{ACCOUNT}:{self.password}@{LOOPBACK}:{self.port}"

    def prepare(self) -> None:
        """Write the configuration; a new name each time tells our server from any other."""
        self.make_folder(self.data)
        self.monitor_port = free_port()
        self._server_name = f"careforall-{secrets.token_hex(8)}"
        self.write_private(self.data / "nats.conf", self._configuration())

    def command(self) -> list[str]:
        """``nats-server`` in the foreground."""
        return [str(self.binary.path), "-c", str(self.data / "nats.conf")]

    def probe(self) -> bool:
        """JetStream must be healthy, and the name ours."""
        health = _get_json(self.monitor_port, "/healthz?js-enabled-only=true")
        if not health or health.get("status") != "ok":
            return False
        return (_get_json(self.monitor_port, "/varz") or {}).get("server_name") == self._server_name

    @property
    def stuck(self) -> bool:
        """Whether a full disk made it give up a stream, and there is room again."""
        health = _get_json(self.monitor_port, "/healthz", timeout_s=0.5)
        gave_up = _WRITE_ERROR in str((health or {}).get("error", ""))
        return gave_up and shutil.disk_usage(self.data).free > _ROOM

    def _configuration(self) -> str:
        return "\n".join(
            [
                f"server_name: {self._server_name}",
                f'listen: "{LOOPBACK}:{self.port}"',
                f'http: "{LOOPBACK}:{self.monitor_port}"',
                f"max_payload: {NATS_MAX_PAYLOAD}",
                f'authorization {{ user: {ACCOUNT}, password: "{self.password}" }}',
                f'jetstream {{ store_dir: "{self.data}", sync_interval: "{self.sync_interval}", max_file_store: {_FILE_STORE} }}',
                "",
            ]
        )


class Valkey(Server):
    """A Valkey (or Redis) server that keeps nothing on disk: it holds only what can be rebuilt."""

    name = "valkey"

    @property
    def url(self) -> str:
        """URL of database 0."""
        return f"redis://:{self.password}@{LOOPBACK}:{self.port}/0"

    def prepare(self) -> None:
        """Write the configuration."""
        self.make_folder(self.data)
        self.write_private(self.data / "valkey.conf", self._configuration())

    def command(self) -> list[str]:
        """``valkey-server`` in the foreground."""
        return [str(self.binary.path), str(self.data / "valkey.conf")]

    def probe(self) -> bool:
        """It must answer PING, and work in our folder."""
        try:
            with redis.Redis.from_url(self.url, socket_timeout=2, socket_connect_timeout=2) as client:
                folder = client.config_get("dir")["dir"] if client.ping() else b""
        except redis.RedisError:
            return False
        return Path(os.fsdecode(folder)).resolve() == self.data.resolve()

    def _configuration(self) -> str:
        return "\n".join(
            [
                f"bind {LOOPBACK}",
                f"port {self.port}",
                f'dir "{self.data}"',
                'save ""',
                "appendonly no",
                "daemonize no",
                f'requirepass "{self.password}"',
                "",
            ]
        )


def _in_new_loop(function: Any, url: str) -> str | None:
    """Run a coroutine function to its end, also when this thread already runs an event loop."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        answer: str | None = pool.submit(asyncio.run, function(url)).result()
    return answer


async def _ask_postgres(url: str) -> str | None:
    try:
        connection = await asyncpg.connect(url, timeout=3)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    try:
        return str(await connection.fetchval("SHOW data_directory", timeout=3))
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    finally:
        await connection.close(timeout=3)


def _get_json(port: int, path: str, *, timeout_s: float = 3) -> dict[str, Any] | None:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        found = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    return found if isinstance(found, dict) else None
