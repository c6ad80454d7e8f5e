"""`careforall demo`: campaigns and a shop with months of history, made by the same code that makes real ones.

The pledges are written straight into the donations database with dates of the past; orders are driven by the saga itself, by a
clock of the past. Their intents and signed webhooks then go through the payments service, so that every total, mail and audit
entry follows from events and the books balance.
"""

import asyncio
import sys
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance

app = typer.Typer(no_args_is_help=True)

_SERVICES = ("accounts", "donations", "payments", "catalog", "inventory", "pricing", "orders")
Gifts = Annotated[int, typer.Option(min=0, max=20_000, help="How many gifts to make up.")]
Orders = Annotated[int, typer.Option(min=0, max=2_000, help="How many orders to make up.")]


@app.command("load")
def load(
    gifts: Gifts = 600,
    orders: Orders = 150,
    password_stdin: Annotated[
        bool, typer.Option("--password-stdin", help="Read the password of donors and buyers from standard input.")
    ] = True,
    instance: Instance = "default",
) -> None:
    """Load the demo data once; where it is already there, nothing changes."""
    password = sys.stdin.readline().rstrip("\r\n") if password_stdin and not sys.stdin.isatty() else ""
    print(asyncio.run(_load(service_variables(instance), gifts, orders, password)))


@app.command("reset")
def reset(
    gifts: Gifts = 600,
    orders: Orders = 150,
    instance: Instance = "default",
) -> None:
    """Make a fresh set of demo campaigns and gifts; what you made yourself stays, the old demo campaigns end, orders stay."""
    print(asyncio.run(_load(service_variables(instance), gifts, orders, "", again=True)))


async def _load(environment: dict[str, str], gifts: int, orders: int, password: str, *, again: bool = False) -> str:
    from careforall.cli.demo_data import Demo  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.cli.demo_orders import load_orders, opened_houses  # noqa: PLC0415 - as above
    from careforall.cli.demo_people import People  # noqa: PLC0415 - as above
    from careforall.cli.demo_shop import load_shop, skus_of  # noqa: PLC0415 - as above
    from careforall.cli.demo_stock import stock_up  # noqa: PLC0415 - as above

    async with opened_houses(_SERVICES, environment) as houses:
        people = People(houses["accounts"].parts, houses["accounts"].database, password)
        if password:
            await people.buyers()
        donations, payments = houses["donations"], houses["payments"]
        demo = Demo(donations.parts, donations.database, payments.parts, payments.database, payments.settings)
        lines = [await demo.load(gifts, again=again), await load_shop(houses["catalog"].database)]
        skus = await skus_of(houses["catalog"].database)
        stock: Any = houses["inventory"].parts.service
        await stock_up(stock, skus)
        return "\n".join([*lines, await load_orders(houses, people, orders, skus)])
