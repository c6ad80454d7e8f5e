"""Fixtures of the tests on a real cluster; without one, one clear line says so and they are skipped."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from careforall_testing import cluster as clusters
from careforall_testing.cluster import Cluster


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies in this folder: it needs a cluster, takes longer than other tests, and runs one after the other."""
    for item in items:
        if "tests/cluster/" in item.nodeid:
            item.add_marker(pytest.mark.cluster)
            item.add_marker(pytest.mark.xdist_group("cluster"))


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The cluster that CAREFORALL_TEST_KUBECONFIG names, with our images in it."""
    if reason := clusters.missing():
        clusters.skip_or_fail(reason)
    clusters.ensure_images()
    return clusters.connected()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """A namespace for this test alone."""
    with cluster.fresh_namespace(re.sub(r"^test_", "", request.node.name)) as made:
        yield made
