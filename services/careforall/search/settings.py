"""Settings of the search service."""

from careforall.kit.settings import AtLeastOne, Settings


class SearchSettings(Settings, frozen=True, kw_only=True):
    """How much of what matches is looked at."""

    candidates: AtLeastOne = 2000
    """Products of a search that are ranked, filtered and counted at most."""
