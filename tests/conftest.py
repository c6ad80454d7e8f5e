"""Fixtures for all tests: the shared servers of this run, and servers of one's own.

The servers start when the first test asks for them, so a run of unit tests alone starts none.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from careforall.launch.servers import Nats, Valkey
from careforall_testing.databases import Databases
from careforall_testing.servers import ServerUrls, own_nats, own_redis, shared_servers

RANDOM_ID = re.compile(r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}")
MARKERS = {
    "slow": "takes longer than a coffee sip; left out unless --full",
    "browser": "needs a browser; left out unless --full",
    "cluster": "needs a Kubernetes API; left out unless --full",
}


def pytest_configure(config: pytest.Config) -> None:
    """Declare the markers that `careforall test` selects by."""
    for name, meaning in MARKERS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name parameters with random ids in them alike in every worker, which must agree on the names of all tests."""
    if isinstance(val, str) and (named := RANDOM_ID.sub("ID", val)) != val:
        return f"{argname}-{named!r}"
    return None


@pytest.fixture(scope="session")
def servers() -> Iterator[ServerUrls]:
    """URLs of PostgreSQL, NATS and Valkey, shared by all workers of this run."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or f"{os.getpid()}-{time.time_ns()}"
    with shared_servers(run) as urls:
        yield urls


@pytest.fixture(scope="session")
def postgres_url(servers: ServerUrls) -> str:
    """The server, not a database of one's own: see `databases`."""
    return servers.postgres


@pytest.fixture(scope="session")
def nats_url(servers: ServerUrls) -> str:
    """A broker shared with other tests: prefix streams and subjects, or take `own_nats`."""
    return servers.nats


@pytest.fixture(scope="session")
def redis_url(servers: ServerUrls) -> str:
    """A Valkey shared with other tests: prefix keys and never flush, or take `redis_db`."""
    return servers.redis


@pytest.fixture(scope="session")
def databases(servers: ServerUrls) -> Databases:
    """Templates and clones on the shared PostgreSQL."""
    return Databases(server_url=servers.postgres)


@pytest.fixture(scope="module", name="own_nats")
def fx_own_nats() -> Iterator[Nats]:
    """A broker for this test module alone."""
    with own_nats() as server:
        yield server


@pytest.fixture(name="redis_db")
def fx_redis_db() -> Iterator[Valkey]:
    """A Valkey for this test alone."""
    with own_redis() as server:
        yield server
