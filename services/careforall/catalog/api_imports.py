"""HTTP of files of products, for staff: bring one in, see how far it came and what was wrong, take one out."""

from typing import Annotated, Any
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter
from litestar.response import Stream

from careforall.catalog.schemas_imports import ImportOut, ImportReport, import_out, report_out
from careforall.catalog.service import CatalogService
from careforall.kit import idempotency
from careforall.kit.http.answers import IdempotencyKey, encoded, finished, idempotent_call
from careforall.kit.http.identity import Principal, admin_only
from careforall.kit.http.lists import CursorQuery, LimitQuery, Page, page, path_id, read_cursor
from careforall.kit.http.uploads import Upload

_IMPORT = "/admin/products/import"
DryRun = Annotated[bool, QueryParameter(name="dry_run", description="Check every row as it would be taken, and change nothing.")]


def upload(most_bytes: int) -> Upload:
    """Return what may be sent to be imported."""
    return Upload(method="POST", path=f"/api/v1{_IMPORT}", types=("text/csv",), max_bytes=most_bytes)


@post(
    _IMPORT,
    guards=[admin_only],
    status_code=202,
    summary="Import products from a CSV file",
    responses={
        202: ResponseSpec(data_container=ImportOut, description="Taken; a worker begins within seconds.", generate_examples=False)
    },
)
async def import_products(
    service: CatalogService,
    principal: Principal,
    request: Request[Any, Any, Any],
    *,
    dry_run: DryRun = False,
    idempotency_key: IdempotencyKey = None,
) -> Response[Any]:
    """Take a CSV file (the body, `Content-Type: text/csv`, UTF-8) whose rows are variants; `Location` tells how far it is.

    Rows with the same `slug` are one product. A product is found by its slug, without one by the SKU, and changed by the columns
    that are there; else it is created. Columns: slug, name, description, brand, category, status, base_price, sale_price,
    currency, images, reservation_policy, max_per_order, shippable, tax_category, sku, price_difference, active, attr.NAME,
    variant_attr.NAME.

    Errors: 413 above the setting `import_bytes`, 415, 422 for a file that cannot be read as a whole (`empty_file`,
    `wrong_encoding`, `malformed_row`, `unknown_column`, `duplicate_column`, `missing_column`, `too_many_columns`,
    `too_many_rows`). What is wrong with a row is told by the import.
    """
    content = await request.body()

    async def work(connection: Any) -> tuple[int, bytes]:
        made = await service.importing.order(connection, content, dry_run=dry_run, by=str(principal.user_id))
        return encoded(202, import_out(made))

    call = await idempotent_call(request, idempotency_key, f"POST {_IMPORT}?dry_run={dry_run}", principal)
    answer = await idempotency.once(service.database, call, work)
    return finished(answer, {"Location": f"/api/v1/admin/imports/{_made(answer.body).id}"})


@get("/admin/imports", guards=[admin_only], summary="List imports")
async def list_imports(service: CatalogService, cursor: CursorQuery = None, limit: LimitQuery = 20) -> Page[ImportOut]:
    """Return imports with their counts, newest first."""
    found = await service.importing.newest(read_cursor(cursor), limit)
    return page([import_out(one) for one in found], limit=limit, last=found[-1].id if found else None)


@get("/admin/imports/{id:str}", guards=[admin_only], summary="Show an import")
async def get_import(service: CatalogService, id: str, cursor: CursorQuery = None, limit: LimitQuery = 100) -> ImportReport:
    """Return an import with its counts and a page of what is wrong, row by row."""
    found, errors = await service.importing.report(path_id(id), read_cursor(cursor), limit)
    cursor_on = page(errors, limit=limit, last=errors[-1].id if errors else None).next_cursor
    return report_out(found, errors, cursor_on)


@post("/admin/imports/{id:str}/cancel", guards=[admin_only], status_code=200, summary="Stop an import")
async def cancel_import(service: CatalogService, id: str) -> ImportOut:
    """Stop an import; the rows that were taken stay. Errors: 409 `import_ended`."""
    return import_out(await service.importing.cancel(path_id(id)))


@get("/admin/products/export.csv", guards=[admin_only], summary="Export products as CSV", media_type="text/csv")
async def export_products(service: CatalogService) -> Stream:
    """Stream all products as a file that can be imported again; no cell can start a formula."""
    headers = {"Content-Disposition": 'attachment; filename="products.csv"'}
    return Stream(service.importing.export(), media_type="text/csv; charset=utf-8", headers=headers)


class _Made(msgspec.Struct):
    id: UUID


_made = msgspec.json.Decoder(_Made).decode
ROUTES = (import_products, list_imports, get_import, cancel_import, export_products)
