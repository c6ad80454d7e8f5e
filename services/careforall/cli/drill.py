"""``careforall drill``: break something under load on purpose, and prove that nothing was lost or doubled."""

from __future__ import annotations

import asyncio
import random
import sys
import warnings
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import Struct

from careforall.cli.environment import launch_environment, service_variables
from careforall.cli.options import Instance, JsonFile
from careforall.launch.control import launcher_lives
from careforall.launch.errors import LaunchError, MissingError, UsageError
from careforall.launch.state import InstanceFolder

if TYPE_CHECKING:
    from careforall.drills.catalogue import Drill
    from careforall.drills.people import People
    from careforall.drills.report import Report, Verified
    from careforall.drills.run import Order
    from careforall.drills.setting import Pressure, Setting

STAFF = "drills@example.org"
MOST_SECONDS, MOST_RATE, MOST_BUYERS = 3600, 1000, 200_000
TOKENS_SECONDS = "14400"
"""How long the tokens of a drill's buyers are good for: longer than the longest sale."""
FAILED = 1
_TIMEOUT_S, _CONNECTIONS = 30.0, 400


class Wished(Struct, frozen=True, kw_only=True):
    """How hard somebody wants to press; None leaves it to the drill."""

    seed: int | None
    seconds: float | None
    rate: float | None
    buyers: int | None
    units: int | None
    patience: float


HELP = """Break something under load on purpose, and prove that nothing was lost or doubled.

\b
Drills:
  gateway-chaos   the gateway declines, fails after charging, doubles, shuffles, drops and forges
  webhook-storm   events in ten shuffled copies by 64 workers, the cache emptied midway
  broker-outage   the broker hangs
  cache-loss      the cache hangs, then forgets everything
  kill-loop       the platform's processes are killed one after another
  flash-sale      more buyers than units, three times: as it is, with the cache killed, with processes killed midway

It works on a running instance of this machine that moves no real money, makes a campaign or products of its own there, and leaves
gifts and orders. The last four stop processes, so they need one that `up` started. The report is printed, and kept in the
instance's folder.

\b
Examples:
  ./careforall drill gateway-chaos --seconds 30
  ./careforall drill webhook-storm --full --json storm.json
  ./careforall drill kill-loop --seed 7 --instance mine
  ./careforall drill flash-sale --buyers 10000 --units 2000

Exit status: 0 good, 1 a check failed, 2 wrong usage, 3 something is missing.
"""


def drill(
    name: Annotated[str, typer.Argument(help="Which drill; see above.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Repeats the mishaps of an earlier drill; printed by each.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=1, max=MOST_SECONDS, help="How long the failure lasts; 20, or more with --full.")
    ] = None,
    rate: Annotated[
        float | None, typer.Option(min=0.1, max=MOST_RATE, help="Gifts a second meanwhile; 15, or more with --full.")
    ] = None,
    buyers: Annotated[
        int | None, typer.Option(min=2, max=MOST_BUYERS, help="Of a flash sale: how many come; 2000, or more with --full.")
    ] = None,
    units: Annotated[
        int | None, typer.Option(min=1, max=MOST_BUYERS, help="Of a flash sale: how much there is; 400, or more with --full.")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=1, max=MOST_SECONDS, help="Seconds to wait for what has not settled afterwards.")
    ] = 180.0,
    full: Annotated[bool, typer.Option("--full", help="The size of the published figures.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the report as Markdown.")] = False,
    json_file: JsonFile = None,
    instance: Instance = "default",
) -> None:
    """Break something under load on purpose."""
    from careforall.drills import report as reports  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.drills.run import Order  # noqa: PLC0415 - as above

    chosen = _chosen(name)
    wished = Wished(seed=seed, seconds=seconds, rate=rate, buyers=buyers, units=units, patience=patience)
    pressure = _pressure(chosen, wished, full=full)
    variables = _playground(instance)
    folder = _folder(instance)
    order = Order(drill=chosen, instance=instance, full=full)
    found = asyncio.run(_drill(order, variables, folder, pressure))
    print((reports.markdown if markdown else reports.text)(found))
    if folder is not None:
        _say(f"stored in {reports.store(found, folder.path)}")
    if json_file is not None:
        reports.write(found, [json_file])
    if not found.ok:
        raise typer.Exit(FAILED)


drill.__doc__ = HELP


def _chosen(name: str) -> Drill:
    from careforall.drills.catalogue import DRILLS  # noqa: PLC0415 - lazy: --help stays quick

    if name not in DRILLS:
        raise UsageError(f"There is no drill {name!r}; choose from: {', '.join(DRILLS)}.")
    return DRILLS[name]


def _pressure(chosen: Drill, wished: Wished, *, full: bool) -> Pressure:
    """Return how hard to press: what was wished, and what is usual for the rest.

    Raises:
        UsageError: This drill is pressed by other options.
    """
    from careforall.drills.setting import Pressure  # noqa: PLC0415 - lazy: --help stays quick

    usual = chosen.full if full else chosen.small
    foreign = ("seconds", "rate") if usual.is_sale else ("buyers", "units")
    if given := [f"--{name}" for name in foreign if getattr(wished, name) is not None]:
        instead = "--buyers and --units" if usual.is_sale else "--seconds and --rate"
        raise UsageError(f"{chosen.name} does not take {' and '.join(given)}: say how hard to press it by {instead}.")
    pressure = Pressure(
        seed=random.randrange(2**31) if wished.seed is None else wished.seed,  # noqa: S311 - to repeat, not a secret
        seconds=wished.seconds or usual.seconds,
        rate=wished.rate or usual.rate,
        patience=wished.patience,
        buyers=wished.buyers or usual.buyers,
        units=wished.units or usual.units,
    )
    if usual.is_sale and pressure.buyers <= pressure.units:
        raise UsageError(f"{pressure.buyers:,} buyers for {pressure.units:,} units are no rush: let there be more --buyers.")
    return pressure


def _playground(instance: str) -> dict[str, str]:
    """Return the variables of a platform that may be broken."""
    variables = service_variables(instance)
    if variables.get("CAREFORALL_ENVIRONMENT") != "development":
        raise UsageError("Drills break things: they run on development instances only, never where real money moves.")
    return variables


def _folder(instance: str) -> InstanceFolder | None:
    """Return the folder of an instance whose launcher runs here; None for a platform that was started otherwise."""
    folder = InstanceFolder(launch_environment().places.instance(instance))
    return folder if launcher_lives(folder.read_state()) else None


async def _drill(order: Order, variables: Mapping[str, str], folder: InstanceFolder | None, pressure: Pressure) -> Report:
    import asyncpg  # noqa: PLC0415 - lazy: --help stays quick
    import httpx2  # noqa: PLC0415 - as above

    from careforall.drills.polling import NotInTime  # noqa: PLC0415 - as above
    from careforall.drills.run import run  # noqa: PLC0415 - as above

    warnings.filterwarnings("ignore", message="EdDSA is deprecated")  # of service tokens; of use to nobody at a terminal
    try:
        async with _setting(variables, folder, pressure) as setting:
            return await run(order, setting, lambda: _verify(variables))
    except (httpx2.TransportError, OSError, asyncpg.PostgresError) as error:
        raise MissingError(f"The platform cannot be reached: {str(error) or type(error).__name__}.") from error
    except NotInTime as error:
        raise LaunchError(f"The drill came to no end (seed {pressure.seed}): {error}.") from error


@asynccontextmanager
async def _setting(variables: Mapping[str, str], folder: InstanceFolder | None, pressure: Pressure) -> AsyncIterator[Setting]:
    import httpx2  # noqa: PLC0415 - lazy: --help stays quick
    from msgspec.structs import asdict  # noqa: PLC0415 - as above

    from careforall.cli.platform import platform_of  # noqa: PLC0415 - as above
    from careforall.drills.local import LocalProcesses  # noqa: PLC0415 - as above
    from careforall.drills.setting import Setting  # noqa: PLC0415 - as above
    from careforall.drills.visitor import Visitor  # noqa: PLC0415 - as above

    limits = httpx2.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=_CONNECTIONS)

    url = variables["CAREFORALL_PUBLIC_URL"]
    async with (
        _people(variables) as people,
        httpx2.AsyncClient(base_url=url, trust_env=False, timeout=_TIMEOUT_S, limits=limits) as public,
    ):
        secret = variables["CAREFORALL_WEBHOOK_SECRETS"].partition(",")[0]
        visitor = Visitor(public, databases=(await platform_of(variables)).dsns, webhook_secret=secret)
        await visitor.employ(*await _staff(variables))
        yield Setting(
            visitor=visitor,
            people=people,
            processes=LocalProcesses(folder),
            redis_url=variables["CAREFORALL_REDIS_URL"],
            tell=_say,
            **asdict(pressure),
        )


@asynccontextmanager
async def _people(variables: Mapping[str, str]) -> AsyncIterator[People]:
    """Whoever buys something in a drill."""
    from careforall.cli.admin import accounts  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.drills.people import People  # noqa: PLC0415 - as above

    async with accounts({**variables, "CAREFORALL_ACCESS_TOKEN_SECONDS": TOKENS_SECONDS}) as service:
        yield People(service.signing)


async def _staff(variables: Mapping[str, str]) -> tuple[str, str]:
    """Make an administrator for the drill, with a new password each time."""
    from careforall.cli.admin import create_administrator  # noqa: PLC0415 - lazy: --help stays quick

    return await create_administrator(STAFF, None, variables)


async def _verify(variables: Mapping[str, str]) -> Verified:
    from careforall.audit.verification import run  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.cli.platform import platform_of  # noqa: PLC0415 - as above
    from careforall.drills.report import Verified  # noqa: PLC0415 - as above

    report, _ = await run.verify(await platform_of(variables))
    broken = [f"{one.name}: {one.violations}" for one in report.findings if one.violations]
    return Verified(ok=report.ok, violations=report.violations, hash=report.hash, broken=broken)


def _say(line: str) -> None:
    print(f"... {line}", file=sys.stderr, flush=True)
