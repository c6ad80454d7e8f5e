"""The database benchmark client as a baseline: the donation's rows in one transaction each, 64 clients, nothing else.

PostgreSQL's own pgbench, from the same wheel as the server. The transaction is the one a careful service would write: BEGIN,
donation, first history row, outbox row, COMMIT. The same rows in a single statement are measured too, for orientation.
"""

import re
import subprocess
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from msgspec import Struct

from careforall_bench.repository import (
    ONE_EACH_CHECKOUT,
    ONE_EACH_RESERVATION,
    ONE_EACH_STATEMENT,
    ONE_EACH_TRANSACTION,
    make_one_each_tables,
    recreate_database,
)

DATABASE = "bench_one_each"
CLIENTS, THREADS = 64, 2
RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)
FAILED = re.compile(r"number of failed transactions: (\d+)")
STOOD_STILL = "number of transactions actually processed: 0\n"
START_SECONDS = 30


class PgbenchError(RuntimeError):
    """The benchmark client did not do its work."""


class OneEach(Struct, frozen=True, kw_only=True):
    """The benchmark client on a database of its own."""

    pgbench: Path
    dsn: str

    def transactions(self, seconds: float) -> float:
        """Donations per second, one transaction each, one statement per table."""
        return self._run(ONE_EACH_TRANSACTION, seconds)

    def statements(self, seconds: float) -> float:
        """Donations per second, all rows in one statement."""
        return self._run(ONE_EACH_STATEMENT, seconds)

    def reservations(self, seconds: float) -> float:
        """Reservations of one hot SKU per second, one transaction each: they wait for one another at its row."""
        return self._run(ONE_EACH_RESERVATION, seconds)

    def checkouts(self, seconds: float) -> float:
        """Checkouts per second, one transaction each: stock, reservation, order, line, payment, three events."""
        return self._run(ONE_EACH_CHECKOUT, seconds)

    def _run(self, script: str, seconds: float) -> float:
        with tempfile.NamedTemporaryFile("w", suffix=".pgbench") as file:
            file.write(script)
            file.flush()
            answer = subprocess.run(  # noqa: S603 - PostgreSQL's own client
                self._command(file.name, seconds),
                env=_server(self.dsn),
                capture_output=True,
                text=True,
                timeout=seconds + START_SECONDS,
                check=False,
            )
        if answer.returncode:
            raise PgbenchError(answer.stderr.strip()[-500:])
        return rate_in(answer.stdout)

    def _command(self, script: str, seconds: float) -> list[str]:
        clients = ["-c", str(CLIENTS), "-j", str(THREADS)]
        return [str(self.pgbench), "-n", "-M", "prepared", *clients, "-T", str(max(1, round(seconds))), "-f", script]


def prepare(pgbench: Path, server: str) -> OneEach:
    """Make the client's database on the server."""
    dsn = recreate_database(server, DATABASE)
    make_one_each_tables(dsn)
    return OneEach(pgbench=pgbench, dsn=dsn)


def rate_in(output: str) -> float:
    """The rate pgbench printed; a run with failed transactions is no baseline, and one that stood still has none to print."""
    failed, rate = FAILED.search(output), RATE.search(output)
    if rate is None and STOOD_STILL in output:
        return 0.0
    if rate is None or (failed is not None and int(failed[1])):
        raise PgbenchError(f"no clean run: {output.strip()[-500:]}")
    return float(rate[1])


def _server(dsn: str) -> dict[str, str]:
    parts = urlsplit(dsn)
    return {
        "PGHOST": parts.hostname or "127.0.0.1",
        "PGPORT": str(parts.port or 5432),
        "PGUSER": unquote(parts.username or "postgres"),
        "PGPASSWORD": unquote(parts.password or ""),
        "PGDATABASE": parts.path.lstrip("/"),
    }
