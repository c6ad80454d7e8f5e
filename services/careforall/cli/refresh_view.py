"""`careforall refresh-view`: refresh a materialised view; what the CronJob of each view runs."""

import asyncio
from typing import Annotated

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.cli.registry import chosen, with_settings
from careforall.launch.errors import LaunchError


class UnknownView(LaunchError):
    """There is no such view."""

    exit_status = 2


def refresh_view(
    name: Annotated[str, typer.Argument(help="The view, such as campaign_totals.")],
    instance: Instance = "default",
) -> None:
    """Refresh a materialised view without blocking its readers."""
    environment = service_variables(instance)
    known = asyncio.run(_refresh(name, environment))
    if known is not None:
        raise UnknownView(f"there is no view {name!r}; known: {', '.join(known)}")
    print(f"{name}: refreshed")


async def _refresh(name: str, environment: dict[str, str]) -> list[str] | None:
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - lazy: --help stays quick

    known: list[str] = []
    for definition, settings in with_settings(chosen(["all"]), environment):
        async with offline_parts(definition, settings) as (parts, _):
            if name in parts.views:
                await parts.views[name]()
                return None
            known += parts.views
    return known
