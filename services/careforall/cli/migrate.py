"""`careforall migrate`: bring the databases up to date, in a step of its own."""

import asyncio
import os
from typing import Annotated

import typer

from careforall.cli.registry import chosen, with_settings
from careforall.launch.errors import LaunchError


class CannotMigrate(LaunchError):
    """A database cannot be brought up to date; the message says why."""

    exit_status = 1


def migrate(
    services: Annotated[list[str], typer.Argument(help="Services whose databases to migrate, or `all`.")],
    check: Annotated[bool, typer.Option("--check", help="Only tell what is pending; exit 1 if anything is.")] = False,
    instance: Annotated[str, typer.Option(help="Name of the instance.")] = "",
) -> None:
    """Create missing databases and apply pending migrations, one transaction each, under an advisory lock."""
    environment = {**os.environ, **({"CAREFORALL_INSTANCE": instance} if instance else {})}
    pairs = with_settings(chosen(services), environment)
    for definition, settings in pairs:
        done = asyncio.run(_migrate(definition.package, settings.dsn(definition.name), check=check))
        word = "pending" if check else "applied"
        print(f"{definition.name}: {len(done)} {word}" + (f" ({', '.join(done)})" if done else ""))
        if check and done:
            raise typer.Exit(1)


async def _migrate(package: str, dsn: str, *, check: bool) -> list[str]:
    import asyncpg  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.kit import migrate as kit  # noqa: PLC0415 - as above

    try:
        if not check:
            return await kit.migrate(dsn, kit.load(package))
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return await kit.pending(connection, kit.load(package))
        finally:
            await connection.close()
    except (kit.MigrationError, OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise CannotMigrate(f"cannot migrate: {error}") from error
