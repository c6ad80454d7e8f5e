"""`careforall openapi`: print the OpenAPI document of all services without starting anything."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from careforall.cli.options import Instance
from careforall.cli.registry import chosen, with_settings

if TYPE_CHECKING:
    from careforall.kit.runtime import Process

_OFFLINE = {
    "CAREFORALL_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1",
    "CAREFORALL_SECRET_KEY": "only for printing the document" * 2,
    "CAREFORALL_ENVIRONMENT": "development",
}


def openapi(_instance: Instance = "default") -> None:
    """Print the OpenAPI 3.1 document as JSON, sorted, so that it can be committed and compared; all instances have the same."""
    print(document())


def document() -> str:
    """Return the text that `openapi` prints."""
    return json.dumps(asyncio.run(_document()), indent=1, sort_keys=True, default=str)


def offline() -> Process:
    """Return a process of all services on servers that are not there, to be described."""
    from careforall.contracts import streams  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.kit.runtime import Process  # noqa: PLC0415 - as above

    return Process(with_settings(chosen(["all"]), _OFFLINE), streams.ALL, ("api",))


async def _document() -> dict[str, Any]:
    return offline().describe()
