"""`careforall prewarm`: fill the caches before a rush; what the operator runs ahead of an announced event."""

import asyncio

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.cli.registry import chosen, with_settings


def prewarm(instance: Instance = "default") -> None:
    """Run every service's warm-up: popular campaigns go into the caches."""
    environment = service_variables(instance)
    asyncio.run(_prewarm(environment))


async def _prewarm(environment: dict[str, str]) -> None:
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - lazy: --help stays quick

    for definition, settings in with_settings(chosen(["all"]), environment):
        async with offline_parts(definition, settings) as (parts, _):
            for warm in parts.prewarm:
                await warm()
            if parts.prewarm:
                print(f"{definition.name}: warm")
