"""Settings of the catalog service."""

from careforall.kit.settings import Settings


class CatalogSettings(Settings, frozen=True, kw_only=True):
    """How long answers stay in Redis (a change makes all of them unreachable at once), and how much an import may bring."""

    product_seconds: int = 1800
    """A product's page."""
    list_seconds: int = 3600
    """A page of a list with its facets."""
    tree_seconds: int = 21_600
    """The tree of categories."""
    import_bytes: int = 10 * 1024**2
    """The largest file of products that may be imported."""
    import_rows: int = 50_000
    """The most rows of such a file."""
    import_errors: int = 1000
    """How many errors of an import are kept; all are counted."""
