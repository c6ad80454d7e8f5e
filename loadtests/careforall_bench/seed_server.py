"""Starts and stops the seed design as a process of its own, on its own database of the same PostgreSQL server."""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from careforall_bench.load import HOME
from careforall_bench.repository import recreate_database

DATABASE = "bench_seed"
PROGRAM = HOME / "baseline" / "seed.py"
NEEDED = ("fastapi", "psycopg2", "sqlalchemy", "uvicorn", "email_validator")
STOP_SECONDS = 5.0


class SeedError(RuntimeError):
    """The seed design did not start."""


def missing_packages() -> list[str]:
    """Packages of the dependency group `baseline` that this interpreter lacks."""
    return [name for name in NEEDED if importlib.util.find_spec(name) is None]


@contextmanager
def seed_server(server: str) -> Iterator[int]:
    """Run the seed design; yields its port."""
    dsn = recreate_database(server, DATABASE).replace("postgres://", "postgresql://", 1)
    with subprocess.Popen(  # noqa: S603 - our own program under our own interpreter
        [sys.executable, str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield _start(process, dsn.replace("postgresql://", "postgresql+psycopg2://", 1))
        finally:
            _stop(process)


def _start(process: subprocess.Popen[str], dsn: str) -> int:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps({"dsn": dsn}) + "\n")
    process.stdin.flush()
    line = process.stdout.readline().strip()
    if not line.isdigit():
        raise SeedError("the seed design did not start; its error stands above")
    return int(line)


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
