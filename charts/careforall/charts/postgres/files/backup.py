"""Takes base backups (`take`), proves that they restore (`prove`), and brings a lost database back (`restore`).

Two CronJobs take and prove, with the database image's own Python; Patroni restores, in the first member of a new cluster.

A proof writes a row to the primary, waits until its WAL is in the store, restores the newest base backup with all WAL after it on
a server of its own, and looks: the row is there, every database can be read from end to end, every page has the right checksum.
Each prints one JSON report; anything else is a failure with its reason.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import psycopg2

STORE = "/etc/careforall/backup/store.sh"
SCRATCH = pathlib.Path(os.environ.get("SCRATCH", "/scratch"))
DATA, SOCKETS = SCRATCH / "data", SCRATCH / "run"
COMPLETE = "complete.json"
PARTS = ("base.tar.gz", "pg_wal.tar.gz", "backup_manifest")
ARCHIVED_S, PROVED_S, RESTORED_S = 300, 3600, 86400
LATEST, NO_END = "latest", sys.maxsize
MUST_FIT = (
    "max_connections",
    "max_worker_processes",
    "max_wal_senders",
    "max_prepared_transactions",
    "max_locks_per_transaction",
)
"""Settings a recovering server must have at least as high as the primary; Patroni gives them on the command line."""


def take() -> dict[str, object]:
    """Copy the primary into the store, and delete what is older than the backups to keep."""
    started, folder = time.monotonic(), SCRATCH / "base"
    name = f"base/{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    login = {**os.environ, "PGPASSWORD": os.environ["REPLICATION_PASSWORD"]}
    run("pg_basebackup", "--host", os.environ["POSTGRES_HOST"], "--username=replicator", "--no-password", f"--pgdata={folder}",
        "--format=tar", "--gzip", "--wal-method=stream", "--checkpoint=fast", env=login)  # fmt: skip
    for part in PARTS:
        store("put", folder / part, f"{name}/{part}")
    wal = json.loads((folder / "backup_manifest").read_text())["WAL-Ranges"][0]
    size = sum((folder / part).stat().st_size for part in PARTS)
    report = {"backup": name, "bytes": size, "wal": wal, "seconds": round(time.monotonic() - started, 1)}
    (SCRATCH / COMPLETE).write_text(json.dumps(report))
    store("put", SCRATCH / COMPLETE, f"{name}/{COMPLETE}")
    return {**report, "deleted": prune(int(os.environ["KEEP"]))}


def prune(keep: int) -> int:
    """Delete base backups beyond the newest `keep`, and the WAL that only they needed; return how many objects went."""
    complete = backups()
    kept = complete[-keep:]
    old = [name for name in listed("base") if name.rsplit("/", 1)[0] < kept[0]]
    store("get", f"{kept[0]}/{COMPLETE}", SCRATCH / "oldest.json")
    first = segment(json.loads((SCRATCH / "oldest.json").read_text())["wal"]["Start-LSN"])
    old += [name for name in listed("wal") if len(wal := name.split("/")[-1]) >= 24 and wal[8:24] < first]  # noqa: PLR2004 - a WAL name
    for name in old:
        store("delete", name)
    return len(old)


def segment(lsn: str) -> str:
    """Return the end of the name of the WAL file that holds `lsn`, without its timeline (files of 16 MiB)."""
    high, low = lsn.split("/")
    return f"{int(high, 16):08X}{int(low, 16) >> 24:08X}"


def prove() -> dict[str, object]:
    """Restore the newest backup and everything after it, and look whether it is whole."""
    started = time.monotonic()
    if not backups():
        sys.exit("there is no complete base backup yet")
    with contextlib.closing(connected(os.environ["POSTGRES_HOST"], os.environ["POSTGRES_PASSWORD"])) as primary:
        marker, archived = mark(primary)
        fitting = [f"-c {name}={value}" for name, value in asked(primary, FITTING, [list(MUST_FIT)])]
        expected = {name for (name,) in asked(primary, DATABASES)}
    backup = fitting_backup()
    unpack(backup)
    restored = recover(["-c archive_mode=off", "-c hot_standby=on", *fitting], PROVED_S)
    with contextlib.closing(connected(str(SOCKETS))) as copy:
        found = {name for (name,) in asked(copy, DATABASES)}
        if not asked(copy, "SELECT FROM restore_proofs WHERE id = %s", [marker]):
            sys.exit(f"{backup} was restored without the row written before: WAL is missing")
    if found != expected:
        sys.exit(f"{backup} has other databases than the primary: {sorted(found ^ expected)}")
    for name in sorted(found):
        run("pg_dump", f"--host={SOCKETS}", "--username=postgres", f"--dbname={name}", "--format=plain", "--file=/dev/null")
    run("pg_ctl", "stop", f"--pgdata={DATA}", "--mode=fast", "--wait")
    run("pg_checksums", "--check", f"--pgdata={DATA}")
    report = {
        "backup": backup,
        "marker": marker,
        "databases": sorted(found),
        "archive_seconds": archived,
        "restore_seconds": restored,
        "seconds": round(time.monotonic() - started, 1),
    }
    (SCRATCH / "proof.json").write_text(json.dumps(report))
    store("put", SCRATCH / "proof.json", f"proofs/{marker}.json")
    return report


def mark(primary: object) -> tuple[str, float]:
    """Write a row and wait until the WAL that holds it is in the store; return its id and the seconds that took."""
    marker = f"{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}"
    asked(primary, "CREATE TABLE IF NOT EXISTS restore_proofs (id text PRIMARY KEY)")
    asked(primary, "DELETE FROM restore_proofs")
    asked(primary, "INSERT INTO restore_proofs (id) VALUES (%s)", [marker])
    ((wal,),) = asked(primary, "SELECT pg_walfile_name(pg_switch_wal())")
    started = time.monotonic()
    while f"wal/{wal}" not in listed("wal"):
        if time.monotonic() - started > ARCHIVED_S:
            sys.exit(f"{wal} was not archived within {ARCHIVED_S} s")
        time.sleep(1)
    return marker, round(time.monotonic() - started, 1)


def restore() -> dict[str, object]:
    """Lay the archive out as the data folder of a new cluster: up to its end, or to a moment.

    The folder gets its name last: what is killed half-way leaves no data that a member would take for all there was. Until then
    nothing goes into the archive, so an attempt that failed leaves no timeline there that the next would follow.
    """
    started, order = time.monotonic(), ordered()
    shutil.rmtree(SCRATCH, ignore_errors=True)
    SCRATCH.mkdir()
    backup = fitting_backup(order.until, order.timeline)
    unpack(backup)
    target = [f"-c recovery_target_time='{order.until.isoformat()}'", "-c recovery_target_action=promote"] if order.until else []
    # No standby, or a setting raised since the backup would stop it; WAL kept for the archive until the server is Patroni's.
    options = ["-c hot_standby=off", "-c archive_mode=on", "-c archive_command=", *target]
    recover([*options, f"-c recovery_target_timeline={order.timeline}"], RESTORED_S)
    with contextlib.closing(connected(str(SOCKETS))) as server:
        ((last,),) = asked(server, "SELECT pg_walfile_name(pg_current_wal_lsn())")
    run("pg_ctl", "stop", f"--pgdata={DATA}", "--mode=fast", "--wait")
    DATA.rename(order.datadir)
    shutil.rmtree(SCRATCH)
    return {"backup": backup, "wal": last, "seconds": round(time.monotonic() - started, 1)}


def ordered() -> argparse.Namespace:
    """Read what Patroni asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb")
    parser.add_argument("--scope")
    parser.add_argument("--datadir", type=pathlib.Path, required=True)
    parser.add_argument("--until", type=datetime.fromisoformat)
    parser.add_argument("--timeline", default=LATEST)
    return parser.parse_args()


def fitting_backup(until: datetime | None = None, timeline: str = LATEST) -> str:
    """Return the newest base backup that was whole at `until` and lies on the way to the timeline."""
    reports = {}
    for name in reversed(backups()):
        store("get", f"{name}/{COMPLETE}", SCRATCH / "looked-at.json")
        reports[name] = json.loads((SCRATCH / "looked-at.json").read_text())
    way = lineage(timeline, [report["wal"]["Timeline"] for report in reports.values()])
    for name, report in reports.items():
        began = datetime.strptime(name, "base/%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        whole = began + timedelta(seconds=report["seconds"])
        if (until is None or whole <= until) and position(report["wal"]["End-LSN"]) <= way.get(report["wal"]["Timeline"], -1):
            return name
    sys.exit(f"no base backup leads to timeline {timeline}" + (f" at {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""))


def lineage(timeline: str, backed_up: list[int]) -> dict[int, int]:
    """Return the timelines that led to one, each with the position where it was left."""
    histories = {int(name[4:12], 16) for name in listed("wal") if name.endswith(".history")}
    number = max([*histories, *backed_up, 1]) if timeline == LATEST else int(timeline)
    way = {number: NO_END}
    if number in histories:
        store("get", f"wal/{number:08X}.history", SCRATCH / "history")
        rows = [line.split() for line in (SCRATCH / "history").read_text().splitlines()]
        way |= {int(row[0]): position(row[1]) for row in rows if row and row[0].isdecimal()}
    return way


def position(lsn: str) -> int:
    """Return a position in the WAL as a number."""
    high, low = lsn.split("/")
    return (int(high, 16) << 32) + int(low, 16)


def unpack(name: str) -> None:
    """Lay out a base backup as a data folder."""
    (DATA / "pg_wal").mkdir(parents=True)
    DATA.chmod(0o700)
    SOCKETS.mkdir()
    for part, folder in (("base.tar.gz", DATA), ("pg_wal.tar.gz", DATA / "pg_wal")):
        store("get", f"{name}/{part}", SCRATCH / part)
        run("tar", "--extract", "--gzip", f"--file={SCRATCH / part}", f"--directory={folder}")
        (SCRATCH / part).unlink()
    (DATA / "recovery.signal").touch()
    (DATA / "standby.signal").unlink(missing_ok=True)


def recover(more: list[str], limit: int) -> float:
    """Start a server that nobody else reaches, which applies the WAL there is; return the seconds until it takes writes."""
    started = time.monotonic()
    options = ["-c listen_addresses=", f"-c data_directory={DATA}",
               f"-c hba_file={DATA}/pg_hba.conf", f"-c ident_file={DATA}/pg_ident.conf",
               f"-c unix_socket_directories={SOCKETS}",
               "-c synchronous_standby_names=", "-c primary_conninfo=", "-c primary_slot_name=", "-c shared_buffers=64MB",
               "-c recovery_target_timeline=latest", f"-c restore_command='{STORE} get wal/%f %p'", *more]  # fmt: skip
    log = SCRATCH / "server.log"
    run(
        "pg_ctl",
        "start",
        f"--pgdata={DATA}",
        f"--log={log}",
        f"--timeout={limit}",
        "--wait",
        f"--options={' '.join(options)}",
    )
    while time.monotonic() - started < limit:
        with contextlib.suppress(psycopg2.OperationalError), contextlib.closing(connected(str(SOCKETS))) as copy:
            if asked(copy, "SELECT pg_is_in_recovery()") == [(False,)]:
                return round(time.monotonic() - started, 1)
        run("pg_ctl", "status", f"--pgdata={DATA}", output=subprocess.DEVNULL)
        time.sleep(1)
    sys.exit(f"the copy still applies WAL after {limit} s:\n{log.read_text()[-2000:]}")


def backups() -> list[str]:
    """Return the names of complete base backups, oldest first."""
    return sorted(name.rsplit("/", 1)[0] for name in listed("base") if name.endswith(f"/{COMPLETE}"))


def listed(prefix: str) -> list[str]:
    """Return the names in the store that begin with `prefix`."""
    return subprocess.run([STORE, "list", prefix], check=True, capture_output=True, text=True).stdout.split()


def store(*words: object) -> None:
    """Have the store do something."""
    run(STORE, *map(str, words))


def run(*words: str, env: dict[str, str] | None = None, output: object = sys.stderr) -> None:
    """Run a program; what it says goes to the log, and its failure is ours."""
    done = subprocess.run(words, env=env, check=False, stdout=output)
    if done.returncode:
        log = SCRATCH / "server.log"
        said = log.read_text()[-3000:] if log.exists() else ""
        sys.exit(f"{words[0]} failed with status {done.returncode}\n{said}")


def connected(host: str, password: str = "") -> object:
    """Connect to `postgres` as superuser."""
    connection = psycopg2.connect(host=host, user="postgres", password=password, dbname="postgres", connect_timeout=5)
    connection.autocommit = True
    return connection


def asked(connection: object, statement: str, values: list[object] | None = None) -> list[tuple[object, ...]]:
    """Run a statement and return its rows, if it has any."""
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchall() if cursor.description is not None else []


FITTING = "SELECT name, setting FROM pg_settings WHERE name = ANY (%s)"
DATABASES = "SELECT datname::text FROM pg_database WHERE datallowconn AND NOT datistemplate"

if __name__ == "__main__":
    print(json.dumps({"take": take, "prove": prove, "restore": restore}[sys.argv[1]]()))
