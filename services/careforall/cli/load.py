"""``careforall load``: plays the load tests' scenarios by k6 or Locust. The playing itself lives in ``loadtests``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from careforall.cli.bench import find_loadtests
from careforall.cli.environment import launch_environment
from careforall.cli.load_cluster import Release
from careforall.cli.options import Instance, JsonFile
from careforall.launch import control
from careforall.launch.errors import MissingError
from careforall.launch.plan import platform_plan
from careforall.launch.settings import LaunchEnvironment
from careforall.launch.state import InstanceFolder
from careforall.launch.summary import flag_of


def load(
    profile: Annotated[str, typer.Option(help="How much for how long: smoke, load, stress, spike, soak, failover.")] = "smoke",
    tool: Annotated[str, typer.Option(help="Who sends the requests: k6 (must be installed) or locust.")] = "k6",
    instance: Instance = "default",
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Load this platform instead of an instance on this machine.")
    ] = None,
    header: Annotated[
        list[str] | None, typer.Option(metavar="'NAME: VALUE'", help="Send with every request, such as a gateway's Host.")
    ] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(envvar="CAREFORALL_LOAD_WEBHOOK_SECRET", help="Of the generic webhook; an instance's is known.")
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="SCENARIO", help="Play this alone (may be repeated).")] = None,
    seconds: Annotated[float | None, typer.Option(help="Squeeze the profile into so many seconds.")] = None,
    run: Annotated[str | None, typer.Option(help="Name of the run; the same name sends the same idempotency keys.")] = None,
    k6: Annotated[Path | None, typer.Option(help="The k6 program, version 2; otherwise the one on PATH.")] = None,
    json_file: JsonFile = None,
    in_cluster: Annotated[
        str | None,
        typer.Option(
            metavar="RELEASE", help="Let the chart's own Job of this Helm release play, by kubectl; takes --profile alone."
        ),
    ] = None,
    namespace: Annotated[str | None, typer.Option(help="Of that release; otherwise kubectl's own.")] = None,
) -> None:
    """Load a running platform as visitors would, and judge it by the limits of loadtests/scenarios.yaml.

    In the end everything that the platform acknowledged is looked up. Exit status 1 when a limit was crossed or something is
    lost, 3 when the tool is missing.
    """
    if in_cluster is not None:
        raise typer.Exit(Release(name=in_cluster, namespace=namespace).play(profile))
    environment = launch_environment()
    loadtests = find_loadtests(environment)
    found: dict[str, Any] = {} if url else _running(environment, instance)
    options = {
        "--profile": profile,
        "--tool": tool,
        "--url": url or found["url"],
        "--seconds": seconds,
        "--run": run,
        "--k6": k6,
        "--json": json_file and json_file.absolute(),
    }
    words = [f"{name}={value}" for name, value in options.items() if value is not None]
    words += [f"--header={one}" for one in header or []] + [f"--only={one}" for one in only or []]
    secret = webhook_secret or found.get("webhook_secrets", {}).get("generic", "")
    done = subprocess.run(  # noqa: S603 - our own module under our own interpreter
        [sys.executable, "-m", "careforall_load", *words],
        cwd=loadtests,
        env={**os.environ, "CAREFORALL_LOAD_WEBHOOK_SECRET": secret},
        check=False,
    )
    raise typer.Exit(done.returncode)


def _running(environment: LaunchEnvironment, instance: str) -> dict[str, Any]:
    """Return the status of an instance on this machine.

    Raises:
        MissingError: It does not run.
    """
    folder = InstanceFolder(environment.places.instance(instance))
    found = control.look(folder, instance=instance, plan=platform_plan()).document
    if not found["url"]:
        start = f"./careforall up{flag_of(instance)}"
        raise MissingError(f"Instance {instance} does not run: start it with {start}, or name a platform by --url.")
    return found
