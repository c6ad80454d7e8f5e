"""Charts are rendered by the real Helm; without one, one clear line says so."""

from __future__ import annotations

import pytest

from careforall_testing import charts
from careforall_testing.cluster import skip_or_fail


@pytest.fixture(autouse=True)
def _helm() -> None:
    if not charts.helm():
        skip_or_fail(charts.NO_HELM)
