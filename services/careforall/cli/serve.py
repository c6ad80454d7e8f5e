"""`careforall serve`: run chosen services in this process."""

import asyncio
import os
import resource
import signal
import sys
from typing import Annotated

import typer

from careforall.cli.migrate import migrated
from careforall.cli.registry import chosen, with_settings
from careforall.launch.errors import LaunchError

_DESCRIPTORS = 65_536
_ROLES = {"worker": ("relay", "consumers"), "all": ("api", "relay", "consumers")}


class CannotServe(LaunchError):
    """The services cannot start; the message says what to do."""

    exit_status = 1


def serve(
    services: Annotated[list[str], typer.Argument(help="Services to run, or `all`.")],
    role: Annotated[
        str, typer.Option(help="api (HTTP), relay (outbox to broker), consumers (messages and timed jobs), worker (both), all.")
    ] = "all",
    host: Annotated[str, typer.Option(envvar="CAREFORALL_HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(envvar="CAREFORALL_PORT", help="Port of the public listener.")] = 8000,
    internal_port: Annotated[
        int, typer.Option(envvar="CAREFORALL_INTERNAL_PORT", help="Port of the internal listener; 0 for none.")
    ] = 0,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=16,
            help="Processes; more than one share the port, and /metrics and /health are of whichever answers: where figures "
            "count, start each on a port of its own.",
        ),
    ] = 1,
    fd: Annotated[
        int, typer.Option(envvar="CAREFORALL_FD", min=0, help="A socket that listens already, instead of the port; 0 for none.")
    ] = 0,
    internal_fd: Annotated[
        int, typer.Option(envvar="CAREFORALL_INTERNAL_FD", min=0, help="The same for the internal listener.")
    ] = 0,
    wait: Annotated[
        float,
        typer.Option(
            envvar="CAREFORALL_SCHEMA_WAIT",
            min=0,
            max=3600,
            help="Seconds to wait for who migrates, instead of refusing an old schema at once.",
        ),
    ] = 0,
    instance: Annotated[str, typer.Option(help="Name of the instance.")] = "",
) -> None:
    """Run services in this process until it is told to stop.

    Settings come from the environment as CAREFORALL_<FIELD>, for one service as CAREFORALL_<SERVICE>_<FIELD>, or from a mounted
    file as CAREFORALL_<FIELD>_FILE. The schema must be up to date: run `careforall migrate all` first, or --wait for who does.
    """
    from careforall.contracts import streams  # noqa: PLC0415 - lazy: --help stays quick
    from careforall.kit import crash, logs  # noqa: PLC0415 - as above
    from careforall.kit.listening import Listener, PortTaken  # noqa: PLC0415 - as above
    from careforall.kit.migrate import MigrationError  # noqa: PLC0415 - as above
    from careforall.kit.runtime import Process, SchemaBehind  # noqa: PLC0415 - as above

    _allow_many_connections()
    environment = {**os.environ, **({"CAREFORALL_INSTANCE": instance} if instance else {})}
    pairs = with_settings(chosen(services), environment)
    roles = _roles(role)
    if workers > 1 and not _fork(workers):
        return
    logs.configure("all" if len(pairs) > 1 else pairs[0][0].name, pairs[0][1].log_level)
    if point := environment.get("CAREFORALL_CRASH_AT"):
        crash.arm(point)
    if wait:
        signal.signal(signal.SIGTERM, _leave)
        asyncio.run(migrated(pairs, wait))
    process = Process(pairs, streams.ALL, roles)
    listener = Listener(
        host=host, port=port, internal_port=internal_port, shared=workers > 1, given=fd, internal_given=internal_fd
    )
    try:
        _run(process.run(listener))
    except (SchemaBehind, MigrationError, PortTaken) as error:
        raise CannotServe(str(error)) from error


def _allow_many_connections() -> None:
    """Take the descriptors we may have: what shells allow by default is less than a rush brings connections."""
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if most == resource.RLIM_INFINITY else min(most, _DESCRIPTORS)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _leave(*_: object) -> None:
    """End while waiting: the first process of a container would ignore the signal otherwise."""
    sys.exit(0)


def _roles(role: str) -> tuple[str, ...]:
    roles = tuple(part for given in role.split(",") for part in _ROLES.get(given, (given,)))
    if not roles or not set(roles) <= {"api", "relay", "consumers"}:
        raise typer.BadParameter("choose api, relay, consumers, worker or all", param_hint="--role")
    return roles


def _fork(workers: int) -> bool:
    """Start the other workers; True in each process that shall serve, False in the parent once all have ended."""
    children = []
    for _ in range(workers):
        child = os.fork()
        if child == 0:
            return True
        children.append(child)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    if any(statuses):
        sys.exit(1)
    return False


def _run(work: object) -> None:
    import uvloop  # noqa: PLC0415 - lazy: --help stays quick

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(work)  # type: ignore[arg-type]  # a coroutine, typed loosely to keep imports lazy
