"""The document that callers of the API read: made once, however often it is asked for."""

from __future__ import annotations

from typing import Any

import pytest
from litestar import Litestar
from litestar.testing import AsyncTestClient

from careforall.kit.http import app as http


async def test_the_document_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Litestar] = []

    def document(app: Litestar) -> dict[str, Any]:
        made.append(app)
        return {"openapi": "3.1.0"}

    monkeypatch.setattr(http, "document", document)
    nothing: Any = None
    app = http.public_app(
        [], health=nothing, verifier=nothing, limiter=nothing, traces=nothing, cors_origins="", development=False
    )
    async with AsyncTestClient(app) as client:
        answers = [await client.get("/openapi.json") for _ in range(3)]

    assert [answer.json() for answer in answers] == [{"openapi": "3.1.0"}] * 3
    assert made == [app]
