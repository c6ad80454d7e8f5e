"""What there is to verify, read off the definitions of the services: databases, streams, subscriptions."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from careforall.cli.registry import chosen, with_settings

if TYPE_CHECKING:
    from careforall.audit.verification.books import Platform


async def platform_of(variables: Mapping[str, str]) -> "Platform":
    """Return the platform that the environment describes."""
    from careforall.audit.verification.books import Platform, Subscription  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.audit.verification.subscriptions import of_service  # noqa: PLC0415 - as above
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - as above

    services = with_settings(chosen(["all"]), variables)
    subscriptions: list[Subscription] = []
    for definition, settings in services:
        async with offline_parts(definition, settings) as (parts, _):
            subscriptions += of_service(definition.name, parts.consumers)
    return Platform(
        dsns={definition.name: settings.dsn(definition.name) for definition, settings in services},
        streams={definition.name: definition.stream.name for definition, _ in services if definition.stream is not None},
        subscriptions=tuple(subscriptions),
    )
