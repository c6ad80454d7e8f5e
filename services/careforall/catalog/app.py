"""Composition root of the catalog service."""

from typing import cast

from litestar import Router
from litestar.di import Provide

from careforall.catalog import api, api_admin, api_imports, api_reviews
from careforall.catalog.consumers import consumers
from careforall.catalog.importing import Importing
from careforall.catalog.listing import Listing
from careforall.catalog.service import CatalogService
from careforall.catalog.settings import CatalogSettings
from careforall.catalog.shelf import Shelf
from careforall.contracts import streams
from careforall.contracts.catalog import PRODUCTS_OF
from careforall.kit.http.faceted import wanted_in
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources

_IMPORTS_EVERY = 1.0


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    shelf = Shelf(resources.database, resources.cache)
    settings = cast("CatalogSettings", resources.settings)
    listing = Listing(resources.database, shelf, settings)
    importing = Importing(resources.database, settings)
    service = CatalogService(resources.database, listing, importing)
    wanted = Provide(wanted_in("newest"), sync_to_thread=False)
    lists = Router("/", route_handlers=[api.list_products], dependencies={"wanted": wanted})
    return Parts(
        service=service,
        routes=(lists, *api.ROUTES, *api_imports.ROUTES, *api_reviews.ROUTES, *api_admin.ROUTES),
        uploads=(api_imports.upload(settings.import_bytes),),
        consumers=consumers(service),
        queries={PRODUCTS_OF: service.answer_products_of},
        jobs=(Job(name="catalog-imports", every=_IMPORTS_EVERY, work=importing.work, exclusive=False),),
        snapshot=service.snapshot,
        stop=(shelf.drain,),
    )


SERVICE = Definition(name="catalog", package=__package__ or "", settings=CatalogSettings, build=build, stream=streams.CATALOG)
