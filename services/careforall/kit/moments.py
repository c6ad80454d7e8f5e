"""Moments that people and programs name: with their zone, kept in UTC, as databases and answers write them."""

from datetime import UTC, datetime


class MomentError(ValueError):
    """A moment that cannot be accepted; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def in_utc(moment: datetime) -> datetime:
    """Return the moment in UTC.

    Raises:
        MomentError: `zone_required`, or `out_of_range` where UTC is in no year of 1 to 9999: nobody could read it again.
    """
    if moment.tzinfo is None:
        raise MomentError("zone_required", "write times with a zone, such as 2027-01-31T12:00:00Z")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise MomentError("out_of_range", "write times of the years 1 to 9999") from None
