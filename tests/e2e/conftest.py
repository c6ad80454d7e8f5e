"""One platform for all end-to-end tests of a worker that do not break it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from careforall_testing.journey import Journey, running_platform


@pytest.fixture(scope="session")
async def journey() -> AsyncIterator[Journey]:
    async with running_platform() as journey:
        yield journey
