"""`careforall demo`: campaigns with months of history and a shop, made by the same code that makes real ones.

The pledges are written straight into the donations database with dates of the past; their intents and signed webhooks then go
through the payments service itself, so that every total, mail and audit entry follows from events and the books balance.
"""

import asyncio
import sys
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance
from careforall.cli.registry import definition, with_settings

app = typer.Typer(no_args_is_help=True)

DONOR = "donor1@example.org"
_SERVICES = ("accounts", "donations", "payments", "catalog", "inventory")


@app.command("load")
def load(
    gifts: Annotated[int, typer.Option(min=0, max=20_000, help="How many gifts to make up.")] = 600,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the donor's password from standard input.")
    ] = True,
    instance: Instance = "default",
) -> None:
    """Load the demo data once; where it is already there, nothing changes."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin and not sys.stdin.isatty() else ""
    print(asyncio.run(_load(service_variables(instance), gifts, password)))


@app.command("reset")
def reset(
    gifts: Annotated[int, typer.Option(min=0, max=20_000, help="How many gifts to make up.")] = 600,
    instance: Instance = "default",
) -> None:
    """Make a fresh set of demo campaigns and gifts; what you made yourself stays, the old demo campaigns end."""
    print(asyncio.run(_load(service_variables(instance), gifts, "", again=True)))


async def _load(environment: dict[str, str], gifts: int, password: str, *, again: bool = False) -> str:
    from careforall.cli.demo_data import Demo  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.cli.demo_shop import load_shop, skus_of  # noqa: PLC0415 - as above
    from careforall.cli.demo_stock import stock_up  # noqa: PLC0415 - as above
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - as above

    pairs = dict(zip(_SERVICES, with_settings(_definitions(), environment), strict=True))
    async with (
        offline_parts(*pairs["accounts"]) as (accounts, _),
        offline_parts(*pairs["donations"]) as (donations, donations_database),
        offline_parts(*pairs["payments"]) as (payments, payments_database),
        offline_parts(*pairs["catalog"]) as (_, catalog_database),
        offline_parts(*pairs["inventory"]) as (inventory, _),
    ):
        if password:
            staff: Any = accounts.service
            await staff.staff.create_person(DONOR, password)
        demo = Demo(donations, donations_database, payments, payments_database, pairs["payments"][1])
        told = await demo.load(gifts, again=again)
        told_of_shop = await load_shop(catalog_database)
        stock: Any = inventory.service
        await stock_up(stock, await skus_of(catalog_database))
        return f"{told}\n{told_of_shop}"


def _definitions() -> list[Any]:
    return [definition(name) for name in _SERVICES]
