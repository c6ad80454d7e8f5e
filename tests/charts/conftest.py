"""Charts are rendered by the real Helm; without one, one clear line says so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from careforall_testing import charts
from careforall_testing.cluster import skip_or_fail
from careforall_testing.forgetful import forgetful_platform


@pytest.fixture(autouse=True)
def _helm() -> None:
    if not charts.helm():
        skip_or_fail(charts.NO_HELM)


@pytest.fixture
def forgetful() -> Iterator[str]:
    with forgetful_platform() as url:
        yield url
