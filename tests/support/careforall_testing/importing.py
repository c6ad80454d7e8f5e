"""Files of products for tests: brought in over the API, waited for, and looked at."""

from __future__ import annotations

from typing import Any

from careforall_testing.polling import eventually
from careforall_testing.shopping import ADMIN_PRODUCTS, ShopHouse

IMPORT = f"{ADMIN_PRODUCTS}/import"
IMPORTS = "/api/v1/admin/imports"
EXPORT = f"{ADMIN_PRODUCTS}/export.csv"
CSV = {"Content-Type": "text/csv"}


async def order(house: ShopHouse, text: str | bytes, *, dry_run: bool = False) -> dict[str, Any]:
    """Bring in a file."""
    content = text.encode() if isinstance(text, str) else text
    answer = await house.staff("POST", f"{IMPORT}?dry_run={str(dry_run).lower()}", content=content, headers=CSV)
    assert answer.status_code == 202, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{IMPORTS}/{found['id']}"
    return found


async def ended(house: ShopHouse, import_id: str, *, within_s: float = 30) -> dict[str, Any]:
    """Wait for an import, and return it with its first errors."""
    found: dict[str, Any] = {}

    async def is_over() -> bool:
        nonlocal found
        found = (await house.staff("GET", f"{IMPORTS}/{import_id}")).json()
        return found["state"] not in {"QUEUED", "RUNNING"}

    await eventually(is_over, within_s=within_s, what="the import is over")
    return found


async def imported(house: ShopHouse, text: str | bytes, *, dry_run: bool = False) -> dict[str, Any]:
    """Bring in a file and wait for what came of it."""
    return await ended(house, (await order(house, text, dry_run=dry_run))["id"])


def counts(found: dict[str, Any]) -> tuple[int, int, int, int]:
    """Rows that were created, updated, unchanged and failed."""
    return found["created"], found["updated"], found["unchanged"], found["failed"]


def errors(found: dict[str, Any]) -> list[tuple[int, str, str]]:
    """Line, column and code of what was wrong."""
    return [(one["line"], one["column"], one["code"]) for one in found["errors"]]
