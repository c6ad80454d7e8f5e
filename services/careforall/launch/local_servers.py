"""The servers of one instance: ours where no URL names another, started in order and kept running."""

from __future__ import annotations

from collections.abc import Mapping

from careforall.launch.binaries import NATS, POSTGRES, VALKEY, Binary, Program, find_binary
from careforall.launch.credentials import Credentials
from careforall.launch.identity import unprivileged_identity
from careforall.launch.server_process import Server
from careforall.launch.servers import Nats, Postgres, Valkey
from careforall.launch.settings import LaunchEnvironment
from careforall.launch.state import InstanceFolder, State

KINDS: Mapping[str, tuple[Program, type[Server]]] = {
    "postgres": (POSTGRES, Postgres),
    "nats": (NATS, Nats),
    "redis": (VALKEY, Valkey),
}


def make_servers(
    environment: LaunchEnvironment, folder: InstanceFolder, *, state: State, credentials: Credentials
) -> dict[str, Server]:
    """Make those servers that no URL of the environment replaces; nothing is started yet.

    Raises:
        MissingError: a program is not on this machine, or cannot run here.
    """
    passwords = {
        "postgres": credentials.postgres_password,
        "nats": credentials.nats_password,
        "redis": credentials.redis_password,
    }
    servers: dict[str, Server] = {}
    for role, (program, kind) in KINDS.items():
        if role in environment.server_urls:
            continue
        binary = locate(program, environment)
        data = folder.path / kind.name
        servers[role] = kind(
            binary=binary,
            data=data,
            log=folder.logs / f"{kind.name}.log",
            identity=unprivileged_identity(sudo_user=environment.sudo_user, data=data, program=binary.path),
            rather=state.server_ports.get(role, 0),
            password=passwords[role],
        )
    return servers


def locate(program: Program, environment: LaunchEnvironment) -> Binary:
    """Find a server program the way this environment asks for."""
    return find_binary(
        program,
        servers=environment.places.servers,
        explicit=environment.explicit_binaries,
        path=environment.path,
    )


def stop_servers(servers: Mapping[str, Server]) -> None:
    """Stop all at the same time and wait for all."""
    for server in servers.values():
        if server.process is not None and server.running:
            server.process.send_signal(server.stop_signal)
    for server in servers.values():
        server.stop()
