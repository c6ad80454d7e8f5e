"""Failovers on a real API server, a real PostgreSQL with real timelines and a real NATS: noticed, told, reconciled once."""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import nats
import pytest
from nats.js.errors import KeyNotFoundError

from careforall.launch.servers import Nats, Postgres
from careforall_testing.cluster import Cluster
from careforall_testing.database_stage import CLUSTER, WRITE_SERVICE, Flag, Stage
from careforall_testing.servers import own_folder
from careforall_testing.servers import running as server_running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
Make = Callable[..., dict[str, Any]]
VIEW = {"name": "totals", "schedule": "*/5 * * * *"}
REPAIRED_S = 10.0


@pytest.fixture(name="stage")
def fx_stage(room: Cluster) -> Iterator[Stage]:
    """A database cluster on a stage."""
    with own_folder() as folder, server_running(Postgres, folder) as server:
        yield Stage(room, server)


def flag(server: Nats) -> Flag | None:
    async def read() -> Flag | None:
        client = await nats.connect(server.url)
        try:
            store = await client.jetstream().key_value("cfa-flags")
            found = await store.get("degraded")
        except KeyNotFoundError:
            return None
        finally:
            await client.close()
        return msgspec.json.decode(found.value or b"", type=Flag)

    return asyncio.run(read())


def messages(room: Cluster, reason: str) -> list[str]:
    """What Events of a reason say."""
    return [one["message"] for one in room.get("events") if one["reason"] == reason]


def test_a_crash_is_reported_and_services_are_told(stage: Stage, operator: Any, objects: Make, own_nats: Nats) -> None:
    room = stage.room
    stage.set_up(objects, views=[VIEW])
    operator.start(nats_url=own_nats.url)
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    assert stage.condition("DatabaseRedundant") == ("True", "SyncStandbyPresent")
    assert stage.database()["timeline"] == 1
    time.sleep(2)
    crashed = time.time()
    stage.crash()
    room.until("writes off", lambda: stage.status()["degraded"]["active"])
    assert room.until("the flag", lambda: flag(own_nats)).active
    room.until("suspended", lambda: room.get("cronjobs")[0]["spec"]["suspend"])
    assert stage.condition("FailoverInProgress")[0] == "True"
    time.sleep(1)
    stage.promote()
    promoted = time.time()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    told = flag(own_nats)
    assert told is None or not told.active
    (job,) = room.until("a Job", lambda: room.get("jobs"))
    assert job["metadata"]["name"] == "main-recon-2"
    assert job["spec"]["template"]["spec"]["containers"][0]["args"] == ["reconcile"]
    assert stage.condition("FailoverInProgress") == ("True", "Reconciling")
    room.until("pods of the Job", lambda: room.get("pods", selector="batch.kubernetes.io/job-name"))
    stage.end_jobs()
    room.until("finished", lambda: stage.database()["lastFailover"]["result"] == "Succeeded")
    report = stage.database()["lastFailover"]
    start = datetime.fromisoformat(report["startTime"]).timestamp()
    write = datetime.fromisoformat(report["writeTime"]).timestamp()
    assert -2.5 < start - crashed < 0.5
    assert write < promoted + 3
    assert report["rtoSeconds"] == pytest.approx(write - start, abs=0.01)
    assert (report["oldPrimary"], report["newPrimary"], report["timeline"]) == ("cfa-0", "cfa-1", 2)
    assert (report["planned"], report["syncBefore"], report["lostBytesEstimate"]) == (False, True, 0)
    assert stage.database()["failoverHistory"] == [report]
    (message,) = messages(room, "FailoverReport")
    assert "cfa-0 -> cfa-1, timeline 2" in message
    assert stage.condition("ReconciliationSucceeded") == ("True", "JobSucceeded")


def test_a_failover_quicker_than_the_limit_is_reported_too(stage: Stage, operator: Any, objects: Make) -> None:
    room = stage.room
    stage.set_up(objects, database={"degraded": {"enterAfterSeconds": 60}})
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    stage.crash()
    stage.promote()
    room.until("a report", lambda: (stage.database().get("lastFailover") or {}).get("writeTime"))
    assert not stage.status()["degraded"]["active"]
    room.until("a Job", lambda: room.get("jobs"))
    room.until("pods of the Job", lambda: room.get("pods", selector="batch.kubernetes.io/job-name"))
    stage.end_jobs("Failed")  # the first of four tries: the Job goes on
    assert stage.database()["lastFailover"]["result"] == "InProgress"


def test_the_same_primary_back_is_no_failover(stage: Stage, operator: Any, objects: Make) -> None:
    room = stage.room
    stage.set_up(objects)
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    stage.crash()
    room.until("noticed", lambda: stage.condition("FailoverInProgress")[0] == "True")
    stage.server.start()
    room.until("nothing", lambda: stage.condition("FailoverInProgress") == ("False", "Idle"))
    assert stage.database().get("lastFailover") is None
    assert room.get("jobs") == []


def test_a_stale_label_is_taken_away(stage: Stage, operator: Any, objects: Make) -> None:
    room = stage.room
    stage.set_up(objects)
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    stage.crash()
    stage.promote(label_old=False)
    room.until("one primary", lambda: "careforall.dev/role" not in room.get("pod", "cfa-0")["metadata"]["labels"], timeout=15)
    assert room.get("pod", "cfa-1")["metadata"]["labels"]["careforall.dev/role"] == "primary"


def test_the_write_service_gets_its_selector_back(stage: Stage, operator: Any, objects: Make) -> None:
    room = stage.room
    stage.set_up(objects)
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    assert messages(room, "WrongSelector") == []
    wrong: list[dict[str, str]] = [{**stage.selector, "careforall.dev/role": "replica"}, {**stage.selector, "app": "a"}, {}]
    for count, selector in enumerate(wrong, 1):
        room.select(WRITE_SERVICE, selector)
        room.until("the selector", lambda: room.selector(WRITE_SERVICE) == stage.selector, timeout=REPAIRED_S)
        room.until("an Event", lambda number=count: len(messages(room, "WrongSelector")) == number, timeout=REPAIRED_S)  # type: ignore[misc]
    selected = "careforall.dev/postgres=cfa,careforall.dev/role=replica"
    assert f"cfa-rw selected {selected}: it leads to the primary alone again" in messages(room, "WrongSelector")
    text = room.kubectl("get", "service", WRITE_SERVICE, "--output=json", "--show-managed-fields")
    owned = {one["manager"]: one["fieldsV1"] for one in json.loads(text)["metadata"]["managedFields"]}
    assert owned["careforall-operator"] == {"f:spec": {"f:selector": {}}}
    stage.install_service()  # an upgrade meets no conflict
    time.sleep(2)
    assert len(messages(room, "WrongSelector")) == len(wrong)


def test_a_write_service_of_somebody_else_is_left_alone(stage: Stage, operator: Any, objects: Make) -> None:
    room = stage.room
    stage.set_up(objects)
    room.kubectl("label", "service", WRITE_SERVICE, "careforall.dev/postgres-")
    room.select(WRITE_SERVICE, {"app": "proxy"})
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    time.sleep(3)
    assert room.selector(WRITE_SERVICE) == {"app": "proxy"}
    _name_service(room, "elsewhere")
    room.kubectl("label", "service", WRITE_SERVICE, f"careforall.dev/postgres={CLUSTER}")
    time.sleep(3)
    assert room.selector(WRITE_SERVICE) == {"app": "proxy"}
    _name_service(room, None)
    room.until("the selector", lambda: room.selector(WRITE_SERVICE) == stage.selector, timeout=REPAIRED_S)


def _name_service(room: Cluster, name: str | None) -> None:
    patch = json.dumps({"spec": {"database": {"writeService": name}}})
    room.kubectl("patch", "cfa", "main", "--type=merge", f"--patch={patch}")


def test_killed_at_random_points_it_reports_each_timeline_once(stage: Stage, operator: Any, objects: Make) -> None:
    seed = random.randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    chance = random.Random(seed)
    rounds = 20 if os.environ.get("CAREFORALL_TEST_FULL") == "1" else 4
    room = stage.room
    stage.set_up(objects)
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    for number in range(rounds):
        stage.crash()
        time.sleep(chance.uniform(0, 3))
        operator.kill()
        operator.start()
        time.sleep(chance.uniform(0, 2))
        stage.promote()
        time.sleep(chance.uniform(0, 3))
        operator.kill()
        stage.end_jobs()
        operator.start()
        room.until(f"report {number + 2}", partial(_done, stage, number + 2), timeout=90)
    names = sorted(job["metadata"]["name"] for job in room.get("jobs"))
    assert names == sorted(f"main-recon-{number + 2}" for number in range(rounds))
    history = stage.database()["failoverHistory"]
    assert [report["timeline"] for report in history] == list(range(rounds + 1, max(rounds - 9, 1), -1))
    assert len(messages(room, "FailoverReport")) == rounds


def _done(stage: Stage, timeline: int) -> bool:
    stage.end_jobs()
    last = stage.database().get("lastFailover") or {}
    return last.get("timeline") == timeline and last.get("result") == "Succeeded"


@pytest.fixture(autouse=True)
def _story(operator: Any, request: pytest.FixtureRequest) -> Iterator[None]:
    """Show the operator's log where a test fails."""
    yield
    if Path(operator.log).exists():
        request.node.add_report_section("call", "operator", operator.story())
