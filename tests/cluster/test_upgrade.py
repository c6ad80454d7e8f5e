"""From the release before to this one, under load: old and new processes side by side, migrations in between, no gift lost.

The database's members restart as well, so that for a moment nobody can write; what is refused then says so.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from careforall_testing.cluster import CHART, Cluster, skip_or_fail
from careforall_testing.cluster_gifts import completed_gift, live_campaign, pledge, steady_gifts
from careforall_testing.cluster_platform import HOST, client_of, front_door, install, serves, upgrade, verify

PREVIOUS = "CAREFORALL_TEST_PREVIOUS"
"""The folder of the release before; its images are tagged `previous`."""
ITS_IMAGES = tuple(
    word for image in ("global.image", "operator.image", "postgres.image") for word in ("--set", f"{image}.tag=previous")
)


@pytest.fixture(scope="module")
def before() -> Path:
    if not os.environ.get(PREVIOUS):
        skip_or_fail(f"no release to upgrade from: set {PREVIOUS} to a folder with the tree of the commit before")
    return Path(os.environ[PREVIOUS]) / CHART.relative_to(CHART.parents[1])


@pytest.fixture
def platform(cluster: Cluster, before: Path) -> Iterator[Cluster]:
    with cluster.fresh_namespace("upgrade") as made:
        install(made, *ITS_IMAGES, chart=before)
        yield made


def test_an_upgrade_under_load_loses_no_gift_and_ends_in_balanced_books(platform: Cluster) -> None:
    door = front_door()
    serves(platform, door)
    with client_of(door) as client:
        completed_gift(client)
    with steady_gifts(door, HOST) as gifts:
        upgrade(platform)
        time.sleep(1)
    assert not gifts.unexpected(), gifts.unexpected()[:5]
    assert gifts.accepted > len(gifts.failures)
    images = {one["image"] for pod in platform.get("pods") for one in pod["spec"]["containers"] if _runs(pod)}
    assert not [image for image in images if image.endswith(":previous")], images
    with client_of(door) as client:
        platform.until("gifts are taken again", lambda: pledge(client, live_campaign(client)).is_success)
        assert not gifts.lost(client)
        assert completed_gift(client)["status"] == "COMPLETED"
    verify(platform)


def _runs(pod: dict[str, dict[str, str]]) -> bool:
    return pod["status"]["phase"] == "Running" and "deletionTimestamp" not in pod["metadata"]
