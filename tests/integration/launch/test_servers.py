"""Servers as child processes: durable when asked, back on the same port, never mistaken for another."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from careforall.launch.errors import LaunchError
from careforall.launch.servers import Postgres, Valkey
from careforall_testing.servers import own_folder, running


@pytest.fixture
def durable_postgres() -> Iterator[Postgres]:
    with own_folder() as folder, running(Postgres, folder, durable=True) as server:
        yield server


async def execute(url: str, statement: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, statement: str) -> object:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


async def test_a_commit_survives_kill_9_on_the_same_port(durable_postgres: Postgres) -> None:
    assert await fetch(durable_postgres.url, "SHOW fsync") == "on"
    assert await fetch(durable_postgres.url, "SHOW server_encoding") == "UTF8"
    await execute(durable_postgres.url, "CREATE TABLE gift AS SELECT 1 AS id")
    url = durable_postgres.url
    durable_postgres.kill()
    with pytest.raises(OSError, match="Connect call failed"):
        await asyncpg.connect(url)
    durable_postgres.launch()
    await asyncio.to_thread(durable_postgres.wait_ready)
    assert durable_postgres.url == url
    assert await fetch(url, "SELECT id FROM gift") == 1


async def test_stopping_does_not_wait_for_clients(durable_postgres: Postgres) -> None:
    connection = await asyncpg.connect(durable_postgres.url)
    durable_postgres.stop()
    assert not durable_postgres.running
    connection.terminate()
    durable_postgres.start()
    assert await fetch(durable_postgres.url, "SELECT 1") == 1


async def test_a_frozen_server_hangs_until_it_thaws(durable_postgres: Postgres) -> None:
    connection = await asyncpg.connect(durable_postgres.url)
    durable_postgres.freeze()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.shield(asked := asyncio.ensure_future(connection.fetchval("SELECT 7"))), 0.3)
    durable_postgres.thaw()
    assert await asked == 7
    await connection.close()


async def test_a_wrong_password_is_refused(durable_postgres: Postgres) -> None:
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(durable_postgres.url.replace(durable_postgres.password, "guess"))


def test_half_made_data_is_made_again(durable_postgres: Postgres) -> None:
    durable_postgres.stop()
    durable_postgres.data.with_name("postgres.ready").unlink()
    (durable_postgres.data / "PG_VERSION").write_text("18")
    (durable_postgres.data / "global" / "pg_control").unlink()
    durable_postgres.start()
    assert durable_postgres.running


def test_a_server_whose_port_is_taken_says_so(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, running(Valkey, state_dir) as other:
        server = Valkey(
            binary=other.binary,
            data=state_dir / "second",
            log=state_dir / "second.log",
            identity=other.identity,
            port=taken.getsockname()[1],
        )
        with pytest.raises(LaunchError, match="valkey did not become ready"):
            server.start(timeout_s=5)


def test_a_free_port_lost_to_another_program_is_replaced(state_dir: Path) -> None:
    with running(Valkey, state_dir) as other:
        server = Valkey(binary=other.binary, data=state_dir / "second", log=state_dir / "second.log", identity=other.identity)
        server.port = other.port
        try:
            server.start()
            assert server.port != other.port
            assert server.probe()
        finally:
            server.stop()


def test_a_port_that_others_know_is_not_replaced(state_dir: Path) -> None:
    with running(Valkey, state_dir) as other:
        other.stop()
        with socket.create_server(("127.0.0.1", other.port)), pytest.raises(LaunchError, match="valkey did not become ready"):
            other.start(timeout_s=5)


def test_a_port_that_would_be_rather_taken_gives_way(state_dir: Path) -> None:
    with running(Valkey, state_dir) as other:
        server = Valkey(binary=other.binary, data=state_dir / "second", log=state_dir / "second.log", rather=other.port)
        try:
            server.start()
            assert server.port != other.port
        finally:
            server.stop()


def test_another_server_on_our_port_is_not_ours(state_dir: Path) -> None:
    with running(Valkey, state_dir) as other:
        impostor = Valkey(binary=other.binary, data=state_dir / "second", log=state_dir / "x.log", password=other.password)
        impostor.port = other.port
        assert other.probe()
        assert not impostor.probe()


async def test_starting_from_another_thread_is_refused(durable_postgres: Postgres) -> None:
    durable_postgres.stop()
    with pytest.raises(LaunchError, match="main thread"):
        await asyncio.to_thread(durable_postgres.launch)
