"""The generated pages say what the code says."""

from __future__ import annotations

import pytest

from careforall_testing.reference import PAGES, REGENERATE, ROOT


@pytest.mark.parametrize("path", PAGES)
def test_the_page_is_up_to_date(path: str) -> None:
    committed = (ROOT / path).read_text() if (ROOT / path).exists() else ""
    assert committed == PAGES[path](), f"{path} differs from the code; write it anew with: {REGENERATE}"
