"""HTTP of search: parse by signature, one service call, return a Struct."""

from typing import Annotated

from litestar import get
from litestar.params import QueryParameter

from careforall.kit.faceted import Wanted
from careforall.kit.http.queries import ANY_QUERY
from careforall.search.schemas import SearchAnswer, Suggestions
from careforall.search.service import SearchService

TextQuery = Annotated[str, QueryParameter(max_length=200, description='Words; "several" as a phrase, -word to leave out.')]


@get("/search", summary="Search products", opt=ANY_QUERY)
async def search(service: SearchService, wanted: Wanted, q: TextQuery = "") -> SearchAnswer:
    """Return the products that hold all words, best first, with the filters, facets and pages of `/products`."""
    return await service.search(q, wanted)


@get("/search/suggest", summary="Complete what is typed")
async def suggest(
    service: SearchService, q: TextQuery = "", limit: Annotated[int, QueryParameter(ge=1, le=20)] = 10
) -> Suggestions:
    """Return names of products, then words, that begin as typed."""
    return Suggestions(suggestions=await service.suggest(q, limit))


LISTS = (search,)
ROUTES = (suggest,)
