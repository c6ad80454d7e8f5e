"""One shop for all tests of a module; tests keep apart by their own SKUs and buyers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from careforall.kit.ids import new_id
from careforall_testing.shop import Shop, running_shop


@pytest.fixture(scope="module")
async def shop() -> AsyncIterator[Shop]:
    async with running_shop() as opened:
        yield opened


@pytest.fixture
async def buyer(shop: Shop) -> dict[str, str]:
    """Somebody new, signed in."""
    return await shop.sign_up(f"buyer-{new_id().hex}@example.org")
