"""``careforall import-products``: bring products in from a CSV file, and tell row by row what was wrong."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance, JsonFile
from careforall.cli.registry import definition, with_settings
from careforall.launch.errors import LaunchError

_LOOK_EVERY = 0.2
_PAGE = 500
_OPEN = frozenset({"QUEUED", "RUNNING"})


class CannotImport(LaunchError):
    """Nothing was imported, or not all; the message says why."""

    exit_status = 3


class WrongFile(LaunchError):
    """The file as a whole cannot be read."""

    exit_status = 2


def import_products(
    file: Annotated[Path, typer.Argument(help="CSV in UTF-8: a row for each variant.", exists=True, dir_okay=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check every row, and change nothing.")] = False,
    instance: Instance = "default",
    json_file: JsonFile = None,
) -> None:
    """Create and change products by a CSV file, as POST /api/v1/admin/products/import does.

    It works beside live traffic; where a worker takes the file first, that one does the work. Stopped half-way, a worker goes on.
    Exit status 1 when rows failed.
    """
    import msgspec  # noqa: PLC0415 - lazy: --help stays quick

    found = asyncio.run(_imported(service_variables(instance), file.read_bytes(), dry_run=dry_run))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    for error in found["errors"]:
        print(f"  line {error['line']}: {error['column'] or 'row'}: {error['code']}: {error['message']}")
    print(_told(found))
    if found["state"] != "COMPLETED" or found["failed"]:
        raise typer.Exit(1)


async def _imported(variables: Mapping[str, str], content: bytes, *, dry_run: bool) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.catalog.schemas_imports import report_out  # noqa: PLC0415 - as above
    from careforall.catalog.service import CatalogService  # noqa: PLC0415 - as above
    from careforall.kit.errors import Problem, Unavailable  # noqa: PLC0415 - as above
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - as above

    pairs = with_settings([definition("catalog")], variables)
    async with offline_parts(*pairs[0]) as (parts, database):
        if not isinstance(parts.service, CatalogService):
            raise TypeError("catalog built another service than its own")
        importing = parts.service.importing
        try:
            made = await database.run(lambda connection: importing.order(connection, content, dry_run=dry_run, by="command line"))
            found = await _ended(importing, made.id)
            errors = [one async for one in _errors(importing, made.id)]
        except Unavailable as error:
            raise CannotImport(f"cannot import: {error.detail}") from error
        except Problem as error:
            raise WrongFile("; ".join(one.message for one in error.errors) or error.detail) from error
    shown: dict[str, Any] = msgspec.to_builtins(report_out(found, errors, None))
    return shown


async def _ended(importing: Any, import_id: Any) -> Any:
    """Work, or wait for the worker that does, until an import is over."""
    while True:
        await importing.work()
        found, _ = await importing.report(import_id, None, 1)
        if found.state not in _OPEN:
            return found
        await asyncio.sleep(_LOOK_EVERY)


async def _errors(importing: Any, import_id: Any) -> Any:
    last = None
    while page := (await importing.report(import_id, last, _PAGE))[1]:
        for error in page:
            yield error
        last = page[-1].id


def _told(found: Mapping[str, Any]) -> str:
    dry = "dry run, nothing was changed: " if found["dry_run"] else ""
    counts = ", ".join(f"{found[name]} {name}" for name in ("created", "updated", "unchanged", "failed"))
    more = f"; {found['error_count']} errors, {len(found['errors'])} shown" if found["error_count"] > len(found["errors"]) else ""
    return f"{dry}{found['state'].lower()}: {found['rows']} rows: {counts}{more}"
