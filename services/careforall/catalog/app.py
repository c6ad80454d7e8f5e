"""Composition root of the catalog service."""

from careforall.catalog import api_admin
from careforall.catalog.consumers import consumers
from careforall.catalog.service import CatalogService
from careforall.catalog.settings import CatalogSettings
from careforall.contracts import streams
from careforall.kit.service import Definition, Parts, Resources


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    service = CatalogService(resources.database)
    return Parts(service=service, routes=api_admin.ROUTES, consumers=consumers(service), snapshot=service.snapshot)


SERVICE = Definition(name="catalog", package=__package__ or "", settings=CatalogSettings, build=build, stream=streams.CATALOG)
