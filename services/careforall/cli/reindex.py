"""`careforall reindex`: build the search index anew, while the old one serves."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.cli.registry import NAMES, definition, with_settings
from careforall.launch.errors import LaunchError

_PAGE = 500


class NotReindexed(LaunchError):
    """The index could not be made anew; the message says why."""

    exit_status = 1


def reindex(instance: Instance = "default") -> None:
    """Build the search index anew out of what catalog and inventory know, while the old one serves.

    What changes meanwhile is in the new index too. Stopped half-way, the old index stays as it was.
    """
    from careforall.kit.errors import Problem  # noqa: PLC0415 - lazy: --help stays quick

    try:
        total = asyncio.run(_reindex(service_variables(instance)))
    except Problem as problem:
        raise NotReindexed(f"the index stays as it was: {problem.detail}; try again later") from problem
    print(f"search: {total} products indexed")


async def _reindex(environment: dict[str, str]) -> int:
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - lazy: --help stays quick

    [pair] = with_settings([definition("search")], environment)
    async with offline_parts(*pair) as (parts, _):
        search: Any = parts.service
        total: int = await search.rebuild(_told(environment, parts.consumers))
        return total


async def _told(environment: dict[str, str], consumers: Sequence[Any]) -> AsyncIterator[Any]:
    """Yield the present state of whoever search listens to, a page at a time."""
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - lazy: --help stays quick

    heard = {consumer.stream: consumer for consumer in consumers}
    owners = [one for one in map(definition, NAMES) if one.stream is not None and one.stream.name in heard]
    for owner, settings in with_settings(owners, environment):
        assert owner.stream is not None, "owners have a stream"
        async with offline_parts(owner, settings) as (parts, database):
            async for page in _pages(parts, database, heard[owner.stream.name]):
                yield page


async def _pages(parts: Any, database: Any, consumer: Any) -> AsyncIterator[Any]:
    from careforall.kit.consumer import Decoder, Refusal  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.search.consumers import facts_of  # noqa: PLC0415 - as above

    decoder, last = Decoder(consumer), None
    while True:
        async with database.connection() as connection:
            rows = await parts.snapshot(connection, last, _PAGE)
        if not rows:
            return
        last = rows[-1].aggregate_id
        decoded = [decoder.decode(row.payload, deliveries=1) for row in rows]
        yield facts_of([message for message in decoded if not isinstance(message, Refusal)])
