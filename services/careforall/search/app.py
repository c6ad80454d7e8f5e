"""Composition root of the search service."""

from typing import cast

from litestar import Router
from litestar.di import Provide

from careforall.kit.http.faceted import wanted_in
from careforall.kit.service import Definition, Parts, Resources
from careforall.search import api
from careforall.search.consumers import consumers
from careforall.search.postgres import PostgresIndex
from careforall.search.service import SearchService
from careforall.search.settings import SearchSettings


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("SearchSettings", resources.settings)
    service = SearchService(resources.database, PostgresIndex(resources.database, candidates=settings.candidates))
    wanted = Provide(wanted_in("relevance"), sync_to_thread=False)
    lists = Router("/", route_handlers=list(api.LISTS), dependencies={"wanted": wanted})
    return Parts(service=service, routes=(lists, *api.ROUTES), consumers=consumers(service))


SERVICE = Definition(name="search", package=__package__ or "", settings=SearchSettings, build=build)
