"""Refusals of the search service.

Problem
+-- IndexBusy             503 index_busy
"""

from careforall.kit.errors import Unavailable


class IndexBusy(Unavailable):
    """A new index found no moment to take the old one's place; the old one serves on."""

    code = "index_busy"
    title = "The index is too busy to be replaced"
