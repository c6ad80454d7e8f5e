"""`careforall migrate`: bring the databases up to date, in a step of its own."""

import asyncio
import contextlib
import os
import sys
import time
from collections.abc import Sequence
from typing import Annotated

import typer

from careforall.cli.registry import chosen, with_settings
from careforall.kit.service import Definition
from careforall.kit.settings import Settings
from careforall.launch.errors import LaunchError

_LOOK_EVERY_S = 1.0


class CannotMigrate(LaunchError):
    """A database cannot be brought up to date; the message says why."""

    exit_status = 1


def migrate(
    services: Annotated[list[str], typer.Argument(help="Services whose databases to migrate, or `all`.")],
    check: Annotated[bool, typer.Option("--check", help="Only tell what is pending; exit 1 if anything is.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, max=3600, help="Seconds to wait for a server, or with --check for who migrates.")
    ] = 0,
    instance: Annotated[str, typer.Option(help="Name of the instance.")] = "",
) -> None:
    """Create missing databases and apply pending migrations, one transaction each, under an advisory lock.

    With --check and --wait it ends well as soon as nothing is pending: what a service waits for before it starts.
    """
    environment = {**os.environ, **({"CAREFORALL_INSTANCE": instance} if instance else {})}
    pairs = with_settings(chosen(services), environment)
    deadline = time.monotonic() + wait
    for definition, settings in pairs:
        done = asyncio.run(_in_time(definition.package, settings.dsn(definition.name), check=check, deadline=deadline))
        if newer := asyncio.run(_newer(definition.package, settings.dsn(definition.name))):
            names = ", ".join(newer)
            print(f"note: {definition.name} is of a newer release than this code ({names}): run that one, or go on with care")
        word = "pending" if check else "applied"
        print(f"{definition.name}: {len(done)} {word}" + (f" ({', '.join(done)})" if done else ""))
        if check and done:
            raise typer.Exit(1)


async def migrated(pairs: Sequence[tuple[Definition, Settings]], seconds: float) -> None:
    """Wait, at most so many seconds, until others have brought the databases up to date or nobody can tell."""
    deadline = time.monotonic() + seconds
    for definition, settings in pairs:
        with contextlib.suppress(CannotMigrate):
            await _in_time(definition.package, settings.dsn(definition.name), check=True, deadline=deadline)


async def _in_time(package: str, dsn: str, *, check: bool, deadline: float) -> list[str]:
    """Look, or try, until it is good or the deadline (monotonic seconds) is there; return the last answer.

    Why it cannot be done yet is said once for each new reason, so that nobody wonders what is waited for.
    """
    told = ""
    while True:
        try:
            done = await _migrate(package, dsn, check=check)
            if not (check and done) or time.monotonic() >= deadline:
                return done
        except CannotMigrate as error:
            if time.monotonic() >= deadline:
                raise
            if str(error) != told:
                told = str(error)
                print(f"waiting: {told}", file=sys.stderr, flush=True)
        await asyncio.sleep(min(_LOOK_EVERY_S, max(deadline - time.monotonic(), 0)))


async def _newer(package: str, dsn: str) -> list[str]:
    import asyncpg  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.kit import migrate as kit  # noqa: PLC0415 - as above

    with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return (await kit.standing(connection, kit.load(package))).unknown
        finally:
            await connection.close()
    return []


async def _migrate(package: str, dsn: str, *, check: bool) -> list[str]:
    import asyncpg  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.kit import migrate as kit  # noqa: PLC0415 - as above

    try:
        if not check:
            return await kit.migrate(dsn, kit.load(package))
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return (await kit.standing(connection, kit.load(package))).pending
        finally:
            await connection.close()
    except (kit.MigrationError, OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise CannotMigrate(f"cannot migrate: {error}") from error
