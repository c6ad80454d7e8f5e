"""Settings of the search service."""

from careforall.kit.settings import Settings


class SearchSettings(Settings, frozen=True, kw_only=True):
    """How much of what matches is looked at."""

    candidates: int = 2000
    """Products of a search that are ranked, filtered and counted at most."""
