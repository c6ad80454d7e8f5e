"""``careforall up, down, status, logs, doctor``: the platform on this machine."""

from __future__ import annotations

import errno
import json
import zlib
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from careforall.cli.environment import launch_environment
from careforall.cli.options import Instance
from careforall.launch import control
from careforall.launch import logs as log_streams
from careforall.launch.doctor import Finding, disk, examine
from careforall.launch.errors import LaunchError, MissingError, UsageError
from careforall.launch.health import READY
from careforall.launch.launcher import Launcher
from careforall.launch.plan import platform_plan
from careforall.launch.reporter import NO_ROOM, Reporter
from careforall.launch.settings import LaunchEnvironment, Wish
from careforall.launch.state import InstanceFolder
from careforall.launch.summary import flag_of

HIGHEST_PORT = 65535
UNWRITABLE = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR)
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")
STATE_COLOURS = {"ready": "green", "degraded": "yellow", "down": "red"}


def up(
    instance: Instance = "default",
    port: Annotated[
        int | None,
        typer.Option(help="Port to answer on; 0 takes any free one. Default: 8000, or any other if that is taken."),
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Return when the platform is ready; it keeps running.")] = False,
    demo: Annotated[bool, typer.Option("--demo/--no-demo", help="Load demo data at the first start.")] = True,
) -> None:
    """Start the platform on this machine: servers, databases, demo data, every service behind one port.

    PostgreSQL, NATS and Valkey are started too, unless CAREFORALL_POSTGRES_URL, CAREFORALL_NATS_URL or
    CAREFORALL_REDIS_URL name others. Ctrl-C stops everything; the data stays for the next time.
    """
    if port is not None and not 0 <= port <= HIGHEST_PORT:
        raise UsageError(f"{port} is no port: use 1 to {HIGHEST_PORT}, or 0 for any free one.")
    environment = launch_environment()
    try:
        _start(environment, Wish(instance=instance, port=port, demo=demo), detach=detach)
    except OSError as error:
        if error.errno not in UNWRITABLE:
            raise
        raise LaunchError(
            f"{_folder(environment, instance).path} cannot be written: {error}\n"
            f"  ./careforall doctor{flag_of(instance)} tells what is missing."
        ) from error


def _start(environment: LaunchEnvironment, wish: Wish, *, detach: bool) -> None:
    reporter = Reporter(plain=environment.plain)
    if not detach:
        Launcher(environment=environment, wish=wish, plan=platform_plan(), reporter=reporter).run()
        return
    port = [] if wish.port is None else ["--port", str(wish.port)]
    words = ["--instance", wish.instance, *port, *([] if wish.demo else ["--no-demo"])]
    control.start_detached(
        _folder(environment, wish.instance), control.launcher_command(words), env=environment.variables, tell=reporter.line
    )


def down(
    instance: Instance = "default",
    purge: Annotated[bool, typer.Option("--purge", help="Forget its data, secrets and logs too.")] = False,
) -> None:
    """Stop the platform, services first, then its servers. The data stays unless --purge is given."""
    environment = launch_environment()
    folder = _folder(environment, instance)
    ran = control.stop(folder)
    reporter = Reporter(plain=environment.plain)
    reporter.line(f"Instance {instance} {'is stopped' if ran else 'was not running'}.")
    if purge:
        had = control.purge(folder)
        reporter.line("Its data is gone." if had else "There was no data of it.")


def status(
    instance: Instance = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print the document scripts read, and nothing else.")] = False,
) -> None:
    """Show what runs, where it answers, and how to sign in. Exit status 1 when it is not ready.

    A service is as the worst of the processes says, those in the background too; a note that not all say names who does. The
    public /health speaks for the process behind the port alone.
    """
    environment = launch_environment()
    found = control.look(_folder(environment, instance), instance=instance, plan=platform_plan())
    if as_json:
        print(json.dumps(found.document, indent=2))
    else:
        _print_status(found, plain=environment.plain)
        room = disk(environment)
        if not room.good:
            _print_finding(_console(plain=environment.plain), room)
    if not found.document["ready"]:
        raise typer.Exit(1)


def logs(
    service: Annotated[
        str | None, typer.Argument(help="A process (api, relay, consumers, postgres, nats, valkey) or one service's lines.")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines until Ctrl-C.")] = False,
    instance: Instance = "default",
) -> None:
    """Show the last log lines of every process, each line with its name; -f follows them."""
    environment = launch_environment()
    folder = _folder(environment, instance)
    written, state = control.log_files(folder), folder.read_state()
    if not written:
        raise UsageError(f"There are no logs of instance {instance}: it was never started, or purged.")
    files, keep = log_streams.choose(written, service, state.services if state else ())
    console = _console(plain=environment.plain)
    lines = log_streams.follow(files, keep) if follow else log_streams.last_lines(files, keep)
    try:
        for name, line in lines:
            console.print(Text.assemble((f"{name:<8} ", _colour(name)), line))
    except (KeyboardInterrupt, SystemExit) as error:  # rich ends the process when whoever reads has gone
        raise typer.Exit(0) from error


def doctor(instance: Instance = "default") -> None:
    """Check this machine: Python, uv, servers with their origin, ports, disk, state. Exit status 3 when one is missing."""
    environment = launch_environment()
    findings = examine(environment, instance)
    console = _console(plain=environment.plain)
    for finding in findings:
        _print_finding(console, finding)
    missing = [finding.subject for finding in findings if finding.essential and not finding.good]
    if missing:
        raise MissingError(f"missing on this machine: {', '.join(missing)}")
    console.print("Ready for ./careforall up.")


def _folder(environment: LaunchEnvironment, instance: str) -> InstanceFolder:
    return InstanceFolder(environment.places.instance(instance))


def _console(*, plain: bool) -> Console:
    return Console(no_color=plain, highlight=False, soft_wrap=True, markup=False, emoji=False)


def _colour(name: str) -> str:
    return COLOURS[zlib.crc32(name.encode()) % len(COLOURS)]


def _print_finding(console: Console, finding: Finding) -> None:
    word, colour = ("ok", "green") if finding.good else ("missing", "red") if finding.essential else ("note", "yellow")
    console.print(Text.assemble((f"{word:<8}", colour), f"{finding.subject:<10}{finding.detail}"))
    if not finding.good:
        console.print(f"        {'':<10}-> {finding.fix}")


def _print_status(found: control.Found, *, plain: bool) -> None:
    console = _console(plain=plain)
    told = found.document
    states = set(told["services"].values())
    overall = "ready" if told["ready"] and states == {READY} else "degraded" if told["ready"] else "down"
    console.print(Text.assemble(f"Instance {told['instance']}: ", (overall, STATE_COLOURS[overall]), f"  {told['url']}"))
    for name, state in told["services"].items():
        notes = ", ".join(found.notes[name])
        console.print(Text.assemble(f"  {name:<14}", (f"{state:<10}" if notes else state, STATE_COLOURS[state]), notes))
    if not told["ready"]:
        flag = flag_of(told["instance"])
        what = "Its launcher runs, and starts again what dies" if found.launched else f"Start it with ./careforall up{flag}"
        console.print(f"{what}; ./careforall logs{flag} and ./careforall doctor{flag} tell what is wrong.")
        return
    for name, url in told["urls"].items():
        console.print(f"  {name:<14}{url}")
    for name, login in told["logins"].items():
        console.print(f"  {name:<14}{login['email']}  {login['password']}")
    console.print(f"  {'data':<14}{told['data_dir']}")
