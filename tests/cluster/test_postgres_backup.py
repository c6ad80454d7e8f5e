"""A base backup is taken, and a restore proves it; a proof fails when WAL is missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from careforall_testing.cluster import Cluster
from careforall_testing.patroni import SCOPE, Patroni, installed

pytestmark = pytest.mark.timeout(240)

VALUES = ("members=1", "backup.enabled=true", "backup.store.accessModes={ReadWriteOnce}", "backup.keep=1", "storage.size=1Gi")


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
