"""`careforall relay`: send events again, after a broker lost them or for a projection that starts anew."""

import asyncio
from datetime import datetime
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.cli.registry import chosen, with_settings

app = typer.Typer(no_args_is_help=True)

_PAGE = 500


@app.command("replay")
def replay(
    services: Annotated[list[str], typer.Argument(help="Services whose events to send again, or `all`.")],
    since: Annotated[datetime | None, typer.Option(help="Only events created since (UTC).")] = None,
    instance: Instance = "default",
) -> None:
    """Send published events again under the same ids, once the broker has forgotten them; who applied them skips them."""
    for definition, settings in with_settings(chosen(services), service_variables(instance)):
        window = definition.stream.duplicate_window_seconds if definition.stream else 0.0
        count = asyncio.run(_replay(settings.dsn(definition.name), since, window))
        print(
            f"{definition.name}: {count} events will be sent again, each {window / 60:g} minutes after it was last sent or later"
        )


@app.command("snapshot")
def snapshot(
    services: Annotated[list[str], typer.Argument(help="Services whose present state to send, or `all`.")],
    after: Annotated[str, typer.Option(help="Resume after this id (printed as it goes).")] = "",
    instance: Instance = "default",
) -> None:
    """Send the present state of every aggregate as new events, for projections that start from nothing."""
    for definition, settings in with_settings(chosen(services), service_variables(instance)):
        asyncio.run(_snapshot(definition, settings, after))


async def _replay(dsn: str, since: datetime | None, window: float) -> int:
    import asyncpg  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.kit.connections import CareConnection  # noqa: PLC0415 - as above
    from careforall.kit.relay import replay as again  # noqa: PLC0415 - as above

    connection = await asyncpg.connect(dsn, timeout=10, connection_class=CareConnection)
    try:
        return await again(connection, since=since, known_for=window)
    finally:
        await connection.close()


async def _snapshot(definition: Any, settings: Any, after: str) -> None:
    from uuid import UUID  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.kit import outbox  # noqa: PLC0415 - as above
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - as above

    async with offline_parts(definition, settings) as (parts, database):
        take = parts.snapshot
        if take is None:
            print(f"{definition.name}: owns no state to send")
            return
        last = UUID(after) if after else None
        total = 0
        while True:
            position = last

            async def page(connection: Any, position: Any = position) -> list[Any]:
                rows = await take(connection, position, _PAGE)
                await outbox.insert(connection, rows)
                return list(rows)

            rows = await database.run(page)
            if not rows:
                break
            last, total = rows[-1].aggregate_id, total + len(rows)
            print(f"{definition.name}: {total} sent, resume with --after {last}")
        print(f"{definition.name}: done, {total} aggregates")
