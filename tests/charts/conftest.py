"""Charts are rendered by the real Helm; without one, one clear line says so."""

from __future__ import annotations

import pytest

from careforall_testing import charts


@pytest.fixture(autouse=True)
def _helm() -> None:
    if not charts.helm():
        pytest.skip(charts.NO_HELM)
