"""A whole instance as `./careforall up` starts it, with servers, launcher and state folder of its own.

async with launched_instance() as instance:
    found = await instance.cli("drill", "kill-loop")
"""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from careforall_testing.databases import connection
from careforall_testing.launching import prepare_state_dir, stand_in_environment
from careforall_testing.platform import Cli, run_cli
from careforall_testing.servers import own_folder

UP_TIMEOUT_S = 240.0


class Instance:
    """One running instance; commands are told its name."""

    def __init__(self, name: str, environment: Mapping[str, str]) -> None:
        self.name = name
        self.environment = dict(environment)
        self._postgres = ""

    async def cli(self, *words: str, timeout_s: float = 60.0) -> Cli:
        """Run a `careforall` command on this instance."""
        return await run_cli((*words, "--instance", self.name), self.environment, timeout_s=timeout_s)

    async def start(self) -> None:
        """Start it without demo data, on a free port."""
        started = await self.cli("up", "--detach", "--no-demo", "--port", "0", timeout_s=UP_TIMEOUT_S)
        assert started.status == 0, started.out + started.err
        self._postgres = json.loads((await self.cli("status", "--json")).out)["dsn"]["postgres"]

    async def stop(self) -> None:
        """Stop it and forget its data."""
        await self.cli("down", "--purge", timeout_s=UP_TIMEOUT_S)

    @asynccontextmanager
    async def database(self, service: str) -> AsyncIterator[asyncpg.Connection]:
        """A connection to a service's database, for looking and for mischief."""
        parts = urlsplit(self._postgres)
        async with connection(urlunsplit(parts._replace(path=f"/careforall_{service}"))) as opened:
            yield opened


@asynccontextmanager
async def launched_instance() -> AsyncIterator[Instance]:
    """An instance that is forgotten in the end, whatever happened."""
    with own_folder() as folder:
        prepare_state_dir(folder)
        environment = {**stand_in_environment(), "CAREFORALL_STATE_DIR": str(folder)}
        instance = Instance(f"test-{secrets.token_hex(4)}", environment)
        try:
            await instance.start()
            yield instance
        finally:
            await instance.stop()
