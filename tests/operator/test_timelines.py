"""After a failover services are asked which timeline they are connected to, until none is on the old one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from careforall.launch.servers import Postgres
from careforall_testing.cluster import Cluster
from careforall_testing.database_stage import Stage
from careforall_testing.servers import own_folder
from careforall_testing.servers import running as server_running

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
Make = Callable[..., dict[str, Any]]
SYSTEM = "SELECT system_identifier::text FROM pg_control_system()"


class Service:
    """A pod of a service that says what it is told to; loopback has room for many addresses with the services' port."""

    def __init__(self, room: Cluster, make: Make, number: int) -> None:
        self.name = f"donations-{number}"
        self.text = ""
        service = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200 if service.text else 503)
                self.end_headers()
                self.wfile.write(service.text.encode())

            def log_message(self, *_: Any) -> None:
                pass

        address = f"127.77.{number}.1"
        self.server = ThreadingHTTPServer((address, 8000), Answer)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        pod = make("PodTemplate", self.name)["template"]
        labels = {"careforall.dev/service": "donations"}
        room.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": self.name, "labels": labels}, "spec": pod["spec"]})
        patch = json.dumps({"status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}})
        room.kubectl("patch", "pod", self.name, "--subresource=status", "--type=merge", f"--patch={patch}")

    def say(self, cluster: str, timeline: int) -> None:
        """Say which timeline it is connected to."""
        self.text = f'database_timeline{{service="donations",cluster="{cluster}"}} {timeline}.0\n'


@pytest.fixture(name="stage")
def fx_stage(room: Cluster) -> Iterator[Stage]:
    """A database cluster on a stage."""
    with own_folder() as folder, server_running(Postgres, folder, durable=True) as server:
        yield Stage(room, server)


@pytest.fixture(name="services")
def fx_services(room: Cluster, objects: Make) -> Iterator[list[Service]]:
    """Two pods of a service."""
    made = [Service(room, objects, number) for number in (1, 2)]
    yield made
    for one in made:
        one.server.shutdown()
        one.server.server_close()


def test_who_is_connected_to_the_old_timeline_is_told_until_all_have_left(
    stage: Stage, services: list[Service], operator: Any, objects: Make
) -> None:
    room = stage.room
    stage.set_up(objects)
    cluster = stage.sql(SYSTEM)
    first, second = services
    first.say(cluster, 1)
    second.say(cluster, 1)
    operator.start()
    room.until("writes on", lambda: stage.condition("WritesEnabled") == ("True", "HeartbeatOk"))
    assert stage.condition("OldTimelineLeft") == ("True", "NotNeeded")
    stage.crash()
    stage.promote()
    room.until("asked", lambda: stage.condition("OldTimelineLeft") == ("False", "StillConnected"))
    first.say(cluster, 2)
    room.until("one is behind", lambda: stage.database().get("podsBehind") == [second.name])
    second.text = ""  # an error is no answer
    room.until("one does not answer", lambda: stage.database().get("podsBehind") == [second.name])
    assert stage.database()["lastFailover"].get("leftSeconds") is None
    second.say("another cluster", 1)
    room.until("all left", lambda: stage.condition("OldTimelineLeft") == ("True", "AllLeft"))
    report = stage.database()["lastFailover"]
    assert report["leftSeconds"] > report["rtoSeconds"]
    assert stage.database().get("podsBehind") is None
