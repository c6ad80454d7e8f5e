"""A state folder for launcher tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from careforall_testing.launching import prepare_state_dir
from careforall_testing.servers import own_folder


@pytest.fixture
def state_dir() -> Iterator[Path]:
    """An empty state folder that other users may pass through."""
    with own_folder() as folder:
        prepare_state_dir(folder)
        yield folder
