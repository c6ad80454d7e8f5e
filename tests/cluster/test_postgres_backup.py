"""A base backup is taken, and a restore proves it; a proof fails when WAL is missing; a lost database comes back from both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from careforall_testing.cluster import Cluster
from careforall_testing.patroni import RELEASE, SCOPE, Patroni, begin, install, installed, refused

pytestmark = pytest.mark.timeout(300)

VALUES = ("members=1", "backup.enabled=true", "backup.store.accessModes={ReadWriteOnce}", "backup.keep=1", "storage.size=1Gi")

RESTORE = ("backup.keep=9", "restore.enabled=true")
WORDS = "SELECT word FROM kept ORDER BY ctid"


@pytest.fixture(scope="module")
def patroni(cluster: Cluster) -> Iterator[Patroni]:
    """One member with a volume for backups."""
    with installed(cluster, *VALUES) as made:
        yield made


def test_a_backup_restores_with_everything_written_after_it_and_a_hole_in_the_wal_is_noticed(patroni: Patroni) -> None:
    first = _run(patroni.cluster, f"{SCOPE}-backup", "backup-1")
    member = patroni.leader()
    patroni.within(member, 'psql -U postgres -h /run/postgresql careforall_donations -c "CREATE TABLE later AS SELECT 1 AS id"')
    proof = _run(patroni.cluster, f"{SCOPE}-restore-proof", "proof-1")
    assert proof["backup"] == first["backup"]
    assert {"careforall_donations", "careforall_audit", "postgres"} <= set(proof["databases"])
    second = _run(patroni.cluster, f"{SCOPE}-backup", "backup-2")
    assert second["deleted"] > 0
    kept = patroni.within(member, "ls /backups/base").split()
    assert [f"base/{name}" for name in kept] == [second["backup"]]
    _make_hole(patroni, member)
    story = _fail(patroni.cluster, f"{SCOPE}-restore-proof", "proof-2")
    assert "WAL is missing" in story, story


@pytest.mark.timeout(600)
def test_a_lost_database_comes_back_from_the_archive_whole_or_up_to_a_moment(namespace: Cluster) -> None:
    patroni = install(namespace, *VALUES, "backup.keep=9")
    _sql(patroni, "CREATE TABLE kept (word text)", "INSERT INTO kept VALUES ('in the backup')")
    base = _run(namespace, f"{SCOPE}-backup", "backup-1")
    _sql(patroni, "INSERT INTO kept VALUES ('in the WAL')")
    between = _sql(patroni, "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")[0]
    _sql(patroni, "INSERT INTO kept VALUES ('later')")
    _archived(patroni)
    assert "has volumes already" in refused(namespace, *VALUES, *RESTORE, verb="upgrade")

    _lose(namespace)
    begin(namespace, *VALUES, *RESTORE, "restore.targetTime=2099-01-01T00:00:00Z")
    namespace.until("an attempt that fails", lambda: _restarts(namespace) > 0, timeout=120)
    assert "is still being restored" in refused(namespace, *VALUES, verb="upgrade")
    assert "recovery ended before configured recovery target" in namespace.kubectl("logs", "--previous", f"{SCOPE}-0")

    _lose(namespace)
    patroni = install(namespace, *VALUES, *RESTORE)
    assert _sql(patroni, WORDS) == ["in the backup", "in the WAL", "later"]
    _as_before(patroni)
    _sql(patroni, "INSERT INTO kept VALUES ('after it was restored')")
    assert _run(namespace, f"{SCOPE}-restore-proof", "proof-1")["backup"] == base["backup"]

    _lose(namespace)
    namespace.kubectl("delete", "secret", f"{SCOPE}-auth", f"{RELEASE}-databases")
    patroni = install(namespace, *VALUES, *RESTORE)
    assert _sql(patroni, WORDS) == ["in the backup", "in the WAL", "later", "after it was restored"]
    _run(namespace, f"{SCOPE}-backup", "backup-2")

    _lose(namespace)
    patroni = install(namespace, *VALUES, *RESTORE, f"restore.targetTime={between}")
    assert _sql(patroni, WORDS) == ["in the backup", "in the WAL"]
    _archived(patroni)
    assert _run(namespace, f"{SCOPE}-restore-proof", "proof-2")["backup"] == base["backup"]


def _sql(patroni: Patroni, *statements: str) -> list[str]:
    """Run statements in a database of a service, and return the rows of the last."""
    said = [
        patroni.within(patroni.leader(), f"psql -U postgres -h /run/postgresql -qtA careforall_donations <<'END'\n{one}\nEND")
        for one in statements
    ]
    return said[-1].splitlines()


def _archived(patroni: Patroni) -> None:
    """Wait until everything written so far is in the archive."""
    [wal] = _sql(patroni, "SELECT pg_walfile_name(pg_switch_wal())")
    reached = f"SELECT last_archived_wal >= '{wal}' FROM pg_stat_archiver"
    patroni.cluster.until(f"{wal} in the archive", lambda: _sql(patroni, reached) == ["t"])


def _lose(cluster: Cluster) -> None:
    """Lose the release, its volumes and Patroni's state; the archive and the Secrets stay."""
    cluster.helm("uninstall", RELEASE, "--wait")
    cluster.kubectl("delete", "jobs", "--all")
    cluster.kubectl("delete", "persistentvolumeclaim,configmap", f"--selector=careforall.dev/postgres={SCOPE}", "--wait")


def _restarts(cluster: Cluster) -> int:
    """How often the first member's container has ended."""
    statuses = cluster.get("pod", f"{SCOPE}-0").get("status", {}).get("containerStatuses", [])
    return sum(one["restartCount"] for one in statuses)


def _as_before(patroni: Patroni) -> None:
    """Take the restore out of the values: the member that runs is not touched."""
    pod = patroni.cluster.get("pod", f"{SCOPE}-0")["metadata"]["uid"]
    install(patroni.cluster, *VALUES, verb="upgrade")
    assert patroni.cluster.get("pod", f"{SCOPE}-0")["metadata"]["uid"] == pod


def _make_hole(patroni: Patroni, member: str) -> None:
    """Lose one WAL file from the store that no base backup holds."""
    psql = "psql -U postgres -h /run/postgresql -qtA"
    patroni.within(member, f'{psql} -c "CREATE TABLE hole AS SELECT 1 AS id"')
    lost = patroni.within(member, f'{psql} -c "SELECT pg_walfile_name(pg_switch_wal())"').strip()
    stored = f"ls /backups/wal/{lost}"
    patroni.cluster.until(
        f"{lost} in the store", lambda: not patroni.within(member, f"{stored} || echo no", check=False).endswith("no\n")
    )
    patroni.within(member, f"rm /backups/wal/{lost}")


def _run(cluster: Cluster, cron: str, name: str) -> dict[str, Any]:
    """Run a CronJob now and return its report."""
    cluster.kubectl("create", "job", f"--from=cronjob/{cron}", name)
    status = _ended(cluster, name)
    said = cluster.kubectl("logs", f"job/{name}")
    assert status == "Complete", said
    report: dict[str, Any] = json.loads(said.strip().splitlines()[-1])
    return report


def _fail(cluster: Cluster, cron: str, name: str) -> str:
    """Run a CronJob that should fail and return why it did."""
    cluster.kubectl("create", "job", f"--from=cronjob/{cron}", name)
    assert _ended(cluster, name) == "Failed"
    return cluster.kubectl("logs", f"job/{name}", check=False)


def _ended(cluster: Cluster, name: str) -> str:
    def look() -> str:
        conditions = cluster.get("job", name).get("status", {}).get("conditions", [])
        return next((one["type"] for one in conditions if one["type"] in {"Complete", "Failed"} and one["status"] == "True"), "")

    return str(cluster.until(f"the end of {name}", look, timeout=100))
