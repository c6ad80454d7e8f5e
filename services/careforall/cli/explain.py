"""``careforall explain ID``: the story of one id across all services."""

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance, JsonFile
from careforall.cli.platform import platform_of


def explain(
    identifier: Annotated[
        str,
        typer.Argument(
            metavar="ID",
            help="A donation, order (or its number), checkout, payment, refund, webhook, hold, return, event or request id.",
        ),
    ],
    instance: Instance = "default",
    json_file: JsonFile = None,
) -> None:
    """Tell what every service knows about an id: rows, messages, decisions and their reasons, in the order of time.

    Exit status 1 when nobody knows it.
    """
    import msgspec  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.audit.verification.explain import told  # noqa: PLC0415 - as above

    story = asyncio.run(_explain(service_variables(instance), identifier))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(story)) + b"\n")
    print(told(story))
    if not story.entries:
        raise typer.Exit(1)


async def _explain(variables: Mapping[str, str], identifier: str) -> Any:
    from careforall.audit.verification.explain import explain as story_of  # noqa: PLC0415 - lazy: --help stays quick

    return await story_of(await platform_of(variables), identifier)
