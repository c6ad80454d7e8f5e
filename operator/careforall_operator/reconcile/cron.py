"""When a cron schedule was last due; enough of cron for drills: numbers, `*`, lists, ranges and steps."""

from datetime import datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))
_FARTHEST = timedelta(days=1)


class BadSchedule(ValueError):
    """A schedule or its zone cannot be read; the message names it."""


@cache
def parsed(schedule: str) -> tuple[frozenset[int], ...]:
    """Return the allowed numbers of each field.

    Raises:
        BadSchedule: It cannot be read.
    """
    fields = schedule.split()
    if len(fields) != len(_BOUNDS):
        raise BadSchedule(f"{schedule!r} has {len(fields)} fields, not five")
    return tuple(frozenset(_numbers(field, low, high)) for field, (low, high) in zip(fields, _BOUNDS, strict=True))


def _numbers(field: str, low: int, high: int) -> list[int]:
    found: list[int] = []
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        try:
            start = low if span == "*" else int(first)
            end = high if span == "*" or (step and not last) else int(last or first)
            every = int(step or 1)
        except ValueError as error:
            raise BadSchedule(f"{field!r} is no part of a schedule") from error
        if not (low <= start <= end <= high) or every < 1:
            raise BadSchedule(f"{field!r} is not within {low} to {high}")
        found += range(start, end + 1, every)
    return found


def due(schedule: str, zone: str, now: datetime, within: timedelta) -> datetime | None:
    """Return the newest moment of a schedule that is at most `within` (a day at most) old.

    Raises:
        BadSchedule: It cannot be read, or there is no such zone.
    """
    local = now.astimezone(_zone(zone)).replace(second=0, microsecond=0)
    for back in range(int(min(within, _FARTHEST).total_seconds() // 60) + 1):
        moment = local - timedelta(minutes=back)
        if _matches(parsed(schedule), schedule, moment):
            return moment.astimezone(now.tzinfo)
    return None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSchedule(f"{name!r} is no time zone") from error


def _matches(allowed: tuple[frozenset[int], ...], schedule: str, moment: datetime) -> bool:
    minute, hour, day, month, weekday = allowed
    fields = schedule.split()
    if moment.minute not in minute or moment.hour not in hour or moment.month not in month:
        return False
    by_day = moment.day in day
    by_weekday = moment.isoweekday() % 7 in {number % 7 for number in weekday}
    if fields[2] != "*" and fields[4] != "*":
        return by_day or by_weekday  # cron's own rule: either will do where both are given
    return by_day and by_weekday
