"""``careforall verify``: prove that the books of all services balance."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance, JsonFile
from careforall.cli.platform import platform_of
from careforall.launch.errors import LaunchError


class CannotRead(LaunchError):
    """A database cannot be read; the message says why."""

    exit_status = 3


def verify(
    instance: Instance = "default",
    full: Annotated[
        bool, typer.Option("--full", help="Verify everything, not only what changed since the last good run.")
    ] = False,
    settled: Annotated[bool, typer.Option("--settled", help="Messages under way count as violations too.")] = False,
    json_file: JsonFile = None,
) -> None:
    """Verify the books: histories, money, totals, receipts, messages, the audit chain. Exit status 1 on any violation.

    What looks wrong is looked at again after five seconds. The facts are printed with their hash: same books, same hash.
    """
    import msgspec  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.audit.verification.report import text  # noqa: PLC0415 - as above

    report = asyncio.run(_verify(service_variables(instance), full=full, settled=settled))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    print(text(report))
    if not report.ok:
        raise typer.Exit(1)


async def _verify(variables: Mapping[str, str], *, full: bool, settled: bool) -> Any:
    import asyncpg  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.audit.verification import marks, run  # noqa: PLC0415 - as above

    platform = await platform_of(variables)
    try:
        mark = run.START if full else await marks.read(platform.dsns["audit"])
        report, reached = await run.verify(platform, mark=mark, settled=settled)
        await marks.write(platform.dsns["audit"], reached)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise CannotRead(f"cannot read the books: {error}") from error
    return report
