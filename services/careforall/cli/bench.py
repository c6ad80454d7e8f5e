"""``careforall bench``: measures the platform and its baselines in one run. The measuring itself lives in ``loadtests``."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from careforall.cli.environment import launch_environment, service_variables
from careforall.cli.options import JsonFile
from careforall.launch.binaries import POSTGRES, find_binary
from careforall.launch.errors import MissingError, UsageError
from careforall.launch.processes import die_with_parent
from careforall.launch.settings import LaunchEnvironment

RAISED_LIMITS = {
    "CAREFORALL_RATE_EVERYONE": "1000000000",
    "CAREFORALL_RATE_PER_ADDRESS": "1000000000",
    "CAREFORALL_RATE_PER_KEY": "1000000000",
    "CAREFORALL_RATE_LOGIN": "1000000",
}
"""Requests a minute of the measured platform: the limits are counted as ever, but never reached."""


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="One short run of everything; its figures only orient.")] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Measure this alone (may be repeated): baselines, start, memory, donations, donations-512, latency, "
            "webhooks, totals, reservations, checkouts, add-to-cart, product-page, search, relay, lives.",
        ),
    ] = None,
    growth: Annotated[
        bool, typer.Option("--growth", help="Measure instead whether an event costs more on a large database: 10 k and 1 M rows.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="With --growth: 10 M gifts too, with some 20 GB of disk.")] = False,
    json_file: JsonFile = None,
    instance: Annotated[
        str | None, typer.Option(metavar="NAME", help="Measure this running platform instead of a new one.")
    ] = None,
) -> None:
    """Measure this machine: the platform, a seed design and a bare database client, in one run, as rates and ratios.

    A platform of its own is started and forgotten again. Every report is kept under .care/bench. Exit status 1 when a figure
    of a full run lies below its floor or could not be measured.
    """
    if full and not growth:
        raise UsageError("--full goes with --growth.")
    if instance is not None:
        service_variables(instance)  # which says so where it does not run
    environment = launch_environment()
    loadtests = find_loadtests(environment)
    words = [*places_of(environment), *(f"--only={name}" for name in only or [])]
    words += [flag for flag, given in (("--quick", quick), ("--growth", growth), ("--full", full)) if given]
    words += [f"--json={json_file.absolute()}"] if json_file is not None else []
    words += [f"--instance={instance}"] if instance is not None else []
    done = subprocess.run(  # noqa: S603 - our own module under our own interpreter
        [sys.executable, "-m", "careforall_bench", *words],
        cwd=loadtests,
        env={**environment.variables, **RAISED_LIMITS},
        check=False,
        preexec_fn=die_with_parent(signal.SIGTERM),
    )
    raise typer.Exit(done.returncode)


def find_loadtests(environment: LaunchEnvironment) -> Path:
    """The folder of the measuring programs.

    Raises:
        MissingError: this is not a clone.
    """
    folder = environment.places.root / "loadtests"
    if not (folder / "careforall_bench").is_dir():
        raise MissingError("`bench` needs the load tests, which are part of a clone: run it inside one.")
    return folder


def places_of(environment: LaunchEnvironment) -> list[str]:
    """Options that tell the measuring program where things are on this machine."""
    places = environment.places
    postgres = find_binary(POSTGRES, servers=places.servers, explicit=environment.explicit_binaries, path=environment.path)
    return [
        f"--root={places.root}",
        f"--instances={places.instances}",
        f"--pgbench={postgres.sibling('pgbench')}",
        f"--store={places.root / '.care' / 'bench'}",
    ]
