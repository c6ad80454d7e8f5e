"""Composition root of the catalog service."""

from typing import cast

from litestar import Router
from litestar.di import Provide

from careforall.catalog import api, api_admin
from careforall.catalog.consumers import consumers
from careforall.catalog.listing import Listing
from careforall.catalog.service import CatalogService
from careforall.catalog.settings import CatalogSettings
from careforall.catalog.shelf import Shelf
from careforall.contracts import streams
from careforall.kit.http.faceted import wanted_in
from careforall.kit.service import Definition, Parts, Resources


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    shelf = Shelf(resources.database, resources.cache)
    listing = Listing(resources.database, shelf, cast("CatalogSettings", resources.settings))
    service = CatalogService(resources.database, listing)
    lists = Router(
        "/", route_handlers=[api.list_products], dependencies={"wanted": Provide(wanted_in("newest"), sync_to_thread=False)}
    )
    return Parts(
        service=service,
        routes=(lists, *api.ROUTES, *api_admin.ROUTES),
        consumers=consumers(service),
        snapshot=service.snapshot,
        stop=(shelf.drain,),
    )


SERVICE = Definition(name="catalog", package=__package__ or "", settings=CatalogSettings, build=build, stream=streams.CATALOG)
