"""HTTP of the catalog for visitors: parse by signature, one service call, return a Struct."""

from typing import Any

import msgspec
from litestar import Request, Response, get

from careforall.catalog.schemas import CategoryTree, ProductOut, VariantList
from careforall.catalog.service import CatalogService
from careforall.catalog.shelf import Kept
from careforall.contracts.listing import ProductList
from careforall.kit.faceted import Wanted
from careforall.kit.http.answers import conditional
from careforall.kit.http.faceted import attributes_of
from careforall.kit.http.lists import path_id
from careforall.kit.http.queries import ANY_QUERY

_SHARED = "public, max-age=1, stale-while-revalidate=5"
_STALE = {"Cache-Control": "no-store", "Warning": '110 - "Response is Stale"'}


@get("/products", summary="List products", opt=ANY_QUERY)
async def list_products(service: CatalogService, wanted: Wanted, request: Request[Any, Any, Any]) -> Response[ProductList]:
    """Return products that are for sale, with facets that count exactly the results.

    Every parameter that is not named here is an attribute: `color=red`. `attr.size=M` where the name has another meaning here.
    Values of one name are alternatives; one variant has to meet all that is asked for.
    """
    return _kept(request, await service.listing.products(wanted))


@get("/products/{id:str}", summary="Show a product")
async def get_product(service: CatalogService, id: str, request: Request[Any, Any, Any]) -> Response[ProductOut]:
    """Return a product with its variants, images and rating."""
    kept = await service.listing.product(path_id(id))
    return _kept(request, kept, version=_version(kept.body).version)


@get("/products/{id:str}/variants", summary="List variants", opt=ANY_QUERY)
async def list_variants(service: CatalogService, id: str, request: Request[Any, Any, Any]) -> VariantList:
    """Return a product's variants; parameters choose by attribute, such as `color=red`."""
    return await service.listing.variants(path_id(id), attributes_of(request))


@get("/categories", summary="The tree of categories")
async def list_categories(service: CatalogService, request: Request[Any, Any, Any]) -> Response[CategoryTree]:
    """Return all categories, each with those below it."""
    return _kept(request, await service.listing.tree())


class _Versioned(msgspec.Struct):
    version: int


_version = msgspec.json.Decoder(_Versioned).decode
ROUTES = (get_product, list_variants, list_categories)


def _kept(request: Request[Any, Any, Any], kept: Kept, *, version: int | None = None) -> Response[Any]:
    headers = _STALE if kept.stale else {"Cache-Control": _SHARED}
    return conditional(request, kept.body, headers, version=version)
