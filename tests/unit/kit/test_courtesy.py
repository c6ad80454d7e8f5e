"""Background work gives way to requests, and not for ever."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from careforall.kit.courtesy import Courtesy, Pressure


async def waited(courtesy: Courtesy, *, age: float = 0.0, patience: float | None = None) -> bool:
    """Whether it was still waiting after a while."""
    try:
        async with asyncio.timeout(0.5):
            await courtesy.give_way(datetime.now(UTC) - timedelta(seconds=age), patience)
    except TimeoutError:
        return True
    return False


async def passed(courtesy: Courtesy) -> float:
    """Seconds for which something that stays new was kept waiting."""
    begun = time.monotonic()
    await courtesy.give_way(datetime.now(UTC) + timedelta(hours=1))
    return time.monotonic() - begun


async def test_it_waits_while_cores_are_short() -> None:
    assert await waited(Courtesy(10, lambda: 0.9))
    assert not await waited(Courtesy(10, lambda: 0.05))


async def test_what_is_old_does_not_wait() -> None:
    assert not await waited(Courtesy(10, lambda: 0.9), age=11)
    assert not await waited(Courtesy(0.2, lambda: 0.9))


async def test_pressing_work_waits_for_less_and_never_for_more() -> None:
    assert not await waited(Courtesy(10, lambda: 0.9), patience=0.2)
    assert not await waited(Courtesy(0.2, lambda: 0.9), patience=10)
    assert await waited(Courtesy(10, lambda: 0.9), patience=9)


async def test_what_lasts_is_no_rush_until_cores_had_a_rest() -> None:
    short = 0.9
    courtesy = Courtesy(0.3, lambda: short, rest=0.2)
    assert await passed(courtesy) >= 0.3
    assert await passed(courtesy) < 0.1
    short = 0.0
    await asyncio.sleep(0.3)  # the rest
    short = 0.9
    assert await passed(courtesy) >= 0.3


async def test_it_is_off_unless_asked_for() -> None:
    assert not await waited(Courtesy(0, lambda: 1.0))


def test_pressure_is_the_share_of_time_that_somebody_waited(tmp_path: Path) -> None:
    file = tmp_path / "cpu"
    file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1000000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n")
    pressure = Pressure(file, every=0.1)
    file.write_text("some avg10=0.00 avg60=0.00 avg300=0.00 total=1050000\n")
    assert pressure() == 0
    time.sleep(0.1)  # the time whose share is asked for
    assert 0.1 < pressure() < 0.6
    assert pressure() > 0
    time.sleep(0.1)  # as above
    assert pressure() == 0


def test_where_the_system_does_not_tell_nobody_waits(tmp_path: Path) -> None:
    assert Pressure(tmp_path / "missing")() == 0
