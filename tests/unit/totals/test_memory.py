"""The bounded memory of a process."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from careforall.totals.domain import Reading, Totals
from careforall.totals.levels import Answer, Memory, encode_stored, stored

TOTALS = Totals(campaign_id=UUID("01890000-0000-7000-8000-000000000001"), currency="EUR", revision=7)


def answer(body: bytes) -> Answer:
    return Answer(reading=Reading(totals=TOTALS, level="redis", cached_at=datetime.now(UTC)), body=body, until=0.0)


def test_the_least_recently_stored_goes_first() -> None:
    memory = Memory(2)
    for key in ("a", "b", "a", "c"):
        memory.put(key, answer(key.encode()))
    assert memory.get("b") is None
    assert [found.body for key in ("a", "c") if (found := memory.get(key))] == [b"a", b"c"]


def test_what_redis_holds_comes_back_as_it_was() -> None:
    held = stored(encode_stored(TOTALS))
    assert held is not None
    assert held.totals == TOTALS


def test_what_cannot_be_read_is_not_there() -> None:
    assert stored(None) is None
    assert stored(b"garbage") is None
    assert stored(b"{}") is None
