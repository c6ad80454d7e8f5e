"""One platform for all end-to-end tests of a worker that do not break it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from careforall_testing.forgetful import forgetful_platform
from careforall_testing.journey import Journey, running_platform


@pytest.fixture(scope="session")
async def journey() -> AsyncIterator[Journey]:
    async with running_platform() as journey:
        yield journey


@pytest.fixture
def forgetful() -> Iterator[str]:
    with forgetful_platform() as url:
        yield url
