"""Settings of the catalog service."""

from careforall.kit.settings import Settings


class CatalogSettings(Settings, frozen=True, kw_only=True):
    """How long answers stay in Redis; a change makes all of them unreachable at once."""

    product_seconds: int = 1800
    """A product's page."""
    list_seconds: int = 3600
    """A page of a list with its facets."""
    tree_seconds: int = 21_600
    """The tree of categories."""
