"""HTTP of products and categories for staff: parse by signature, one service call, return a Struct."""

from typing import Annotated, Any

import msgspec
from litestar import Request, Response, delete, get, patch, post, put
from litestar.params import HeaderParameter, QueryParameter

from careforall.catalog.schemas import (
    CategoryOut,
    CategoryPatch,
    ImagePatch,
    NewCategory,
    NewImage,
    NewProduct,
    NewVariant,
    ProductOut,
    ProductPatch,
    ProductPut,
    VariantPatch,
    category_out,
)
from careforall.catalog.service import CatalogService
from careforall.contracts.catalog import ProductStatus
from careforall.kit import idempotency
from careforall.kit.http.answers import IdempotencyKey, encoded, etag, finished, idempotent_call, wanted_version
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.idempotency import Answer

IfMatch = Annotated[str | None, HeaderParameter(name="If-Match", description='The version read, such as "3".')]
_PRODUCT = "/admin/products/{id:str}"


@post("/admin/products", guards=[admin_only], summary="Create a product")
async def create_product(
    service: CatalogService,
    principal: Principal,
    data: NewProduct,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[ProductOut]:
    """Create a product with its variants and images.

    Errors: 409 `duplicate_entry` for a SKU or slug that is taken, 422 with the fields at fault.
    """

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, await service.create_product(connection, data))

    call = await idempotent_call(request, idempotency_key, "POST /admin/products", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@get("/admin/products", guards=[admin_only], summary="List products (staff)")
async def list_products(
    service: CatalogService,
    status: ProductStatus | None = None,
    q: Annotated[str, QueryParameter(max_length=100, description="Part of the name or of a SKU.")] = "",
    cursor: CursorQuery = None,
    limit: LimitQuery = 20,
) -> Page[ProductOut]:
    """Return products in every status, newest first."""
    found = await service.products_for_staff(status, q, read_cursor(cursor), limit)
    return page(found, limit=limit, last=found[-1].id if found else None)


@get(_PRODUCT, guards=[admin_only], summary="Show a product (staff)")
async def get_product(service: CatalogService, id: str) -> Response[ProductOut]:
    """Return a product in every status, with its inactive variants."""
    return _versioned(await service.product_for_staff(path_id(id)))


@put(_PRODUCT, guards=[admin_only], summary="Replace a product")
async def put_product(service: CatalogService, id: str, data: ProductPut, if_match: IfMatch = None) -> Response[ProductOut]:
    """Make the product what the body says; a variant whose SKU was there keeps its id, one that is not named goes."""
    return _versioned(await service.replace_product(path_id(id), data, wanted_version(data.version, if_match)))


@patch(_PRODUCT, guards=[admin_only], summary="Change a product")
async def patch_product(service: CatalogService, id: str, data: ProductPatch, if_match: IfMatch = None) -> Response[ProductOut]:
    """Change what is given; send the version you have read to be told of changes in between (409)."""
    return _versioned(await service.change_product(path_id(id), data, wanted_version(data.version, if_match)))


@delete(_PRODUCT, guards=[admin_only], summary="Remove a product")
async def delete_product(service: CatalogService, id: str, if_match: IfMatch = None) -> None:
    """Sell the product no more. Orders keep it; its SKUs are never given to another."""
    await service.remove_product(path_id(id), wanted_version(None, if_match))


@post(f"{_PRODUCT}/variants", guards=[admin_only], summary="Add a variant")
async def add_variant(
    service: CatalogService,
    principal: Principal,
    id: str,
    data: NewVariant,
    request: Request[Any, Any, Any],
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[ProductOut]:
    """Add a variant and return the product. Errors: 409 `duplicate_entry` for a SKU that is taken."""
    product_id, version = path_id(id), wanted_version(None, if_match)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, await service.add_variant(connection, product_id, data, version))

    call = await idempotent_call(request, idempotency_key, "POST /admin/products/variants", principal)
    return _changed(await idempotency.once(service.database, call, work))


@patch(f"{_PRODUCT}/variants/{{variant_id:str}}", guards=[admin_only], summary="Change a variant")
async def patch_variant(
    service: CatalogService, id: str, variant_id: str, data: VariantPatch, if_match: IfMatch = None
) -> Response[ProductOut]:
    """Change what is given and return the product."""
    version = wanted_version(None, if_match)
    return _versioned(await service.change_variant(path_id(id), path_id(variant_id), data, version))


@delete(f"{_PRODUCT}/variants/{{variant_id:str}}", guards=[admin_only], status_code=200, summary="Remove a variant")
async def delete_variant(service: CatalogService, id: str, variant_id: str, if_match: IfMatch = None) -> Response[ProductOut]:
    """Take a variant out and return the product."""
    return _versioned(await service.remove_variant(path_id(id), path_id(variant_id), wanted_version(None, if_match)))


@post(f"{_PRODUCT}/images", guards=[admin_only], summary="Add an image")
async def add_image(
    service: CatalogService,
    principal: Principal,
    id: str,
    data: NewImage,
    request: Request[Any, Any, Any],
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[ProductOut]:
    """Add an image by its address and return the product; a primary one takes the place of the one before."""
    product_id, version = path_id(id), wanted_version(None, if_match)

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, await service.add_image(connection, product_id, data, version))

    call = await idempotent_call(request, idempotency_key, "POST /admin/products/images", principal)
    return _changed(await idempotency.once(service.database, call, work))


@patch(f"{_PRODUCT}/images/{{image_id:str}}", guards=[admin_only], summary="Change an image")
async def patch_image(
    service: CatalogService, id: str, image_id: str, data: ImagePatch, if_match: IfMatch = None
) -> Response[ProductOut]:
    """Change what is given and return the product."""
    return _versioned(await service.change_image(path_id(id), path_id(image_id), data, wanted_version(None, if_match)))


@delete(f"{_PRODUCT}/images/{{image_id:str}}", guards=[admin_only], status_code=200, summary="Remove an image")
async def delete_image(service: CatalogService, id: str, image_id: str, if_match: IfMatch = None) -> Response[ProductOut]:
    """Take an image out and return the product."""
    return _versioned(await service.remove_image(path_id(id), path_id(image_id), wanted_version(None, if_match)))


@post("/admin/categories", guards=[admin_only], summary="Create a category")
async def create_category(
    service: CatalogService,
    principal: Principal,
    data: NewCategory,
    request: Request[Any, Any, Any],
    idempotency_key: IdempotencyKey = None,
) -> Response[CategoryOut]:
    """Create a category below its parent, or a root. Errors: 409 `duplicate_entry` for a slug that is taken."""

    async def work(connection: Any) -> tuple[int, bytes]:
        return encoded(201, category_out(await service.create_category(connection, data), []))

    call = await idempotent_call(request, idempotency_key, "POST /admin/categories", principal)
    return finished(await idempotency.once(service.database, call, work), etag(1))


@patch("/admin/categories/{id:str}", guards=[admin_only], summary="Change or move a category")
async def patch_category(
    service: CatalogService, id: str, data: CategoryPatch, if_match: IfMatch = None
) -> Response[CategoryOut]:
    """Change what is given. A move takes along all that is below; every product in it is told of anew."""
    changed = await service.change_category(path_id(id), data, wanted_version(data.version, if_match))
    return Response(category_out(changed, []), headers=etag(changed.version))


@delete("/admin/categories/{id:str}", guards=[admin_only], summary="Delete a category")
async def delete_category(service: CatalogService, id: str, if_match: IfMatch = None) -> None:
    """Delete a category that nothing is in, else 409 `category_in_use`."""
    await service.remove_category(path_id(id), wanted_version(None, if_match))


ROUTES = (
    *(create_product, list_products, get_product, put_product, patch_product, delete_product),
    *(add_variant, patch_variant, delete_variant, add_image, patch_image, delete_image),
    *(create_category, patch_category, delete_category),
)


class _Versioned(msgspec.Struct):
    version: int


def _versioned(product: ProductOut) -> Response[ProductOut]:
    return Response(product, headers=etag(product.version))


def _changed(answer: Answer) -> Response[ProductOut]:
    return finished(answer, etag(msgspec.json.decode(answer.body, type=_Versioned).version))
