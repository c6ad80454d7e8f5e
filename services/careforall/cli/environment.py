"""The one place where the launcher's side of the command line reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from careforall.cli.registry import with_files
from careforall.launch.binaries import PROGRAMS
from careforall.launch.control import launcher_lives
from careforall.launch.credentials import load_or_create
from careforall.launch.errors import MissingError
from careforall.launch.places import clone_root, find_places
from careforall.launch.service_environment import service_environment
from careforall.launch.settings import LaunchEnvironment
from careforall.launch.state import InstanceFolder
from careforall.launch.summary import flag_of

SERVER_URLS = {"postgres": "CAREFORALL_POSTGRES_URL", "nats": "CAREFORALL_NATS_URL", "redis": "CAREFORALL_REDIS_URL"}


def launch_environment(variables: Mapping[str, str] | None = None, *, root: Path | None = None) -> LaunchEnvironment:
    """Read the environment once.

    Args:
        variables: the environment; the process's own when not given.
        root: the clone; the one this code runs from when not given.

    Raises:
        BadSettings: a variable names a file that cannot be read.
    """
    env = with_files(os.environ if variables is None else variables)
    return LaunchEnvironment(
        places=find_places(root=root or clone_root(), state_dir=env.get("CAREFORALL_STATE_DIR"), uid=os.getuid()),
        path=env.get("PATH", os.defpath),
        explicit_binaries=_present(env, {program.variable: program.variable for program in PROGRAMS}),
        server_urls=_present(env, SERVER_URLS),
        sudo_user=env.get("SUDO_USER"),
        plain=bool(env.get("NO_COLOR") or env.get("CI")),
        variables=env,
    )


def service_variables(instance: str) -> dict[str, str]:
    """The variables of a command that works on a platform (``verify``, ``simulate``, ``demo`` ...).

    A process that was given its secret key (a pod, whatever ``up`` starts) has them already; from a terminal they are
    those of the local instance.

    Raises:
        MissingError: neither is the case; the instance does not run.
    """
    environment = launch_environment()
    own = environment.variables.get("CAREFORALL_INSTANCE", "default")
    if environment.variables.get("CAREFORALL_SECRET_KEY") and instance == own:
        return dict(environment.variables)
    folder = InstanceFolder(environment.places.instance(instance))
    state = folder.read_state()
    if state is None or not state.internal_ports or not launcher_lives(state):
        raise MissingError(
            f"Instance {instance} does not run: start it with ./careforall up{flag_of(instance)}, or name another."
        )
    first = next(iter(state.internal_ports))
    return service_environment(environment.variables, state=state, credentials=load_or_create(folder), process=first, first=first)


def _present(env: Mapping[str, str], names: Mapping[str, str]) -> dict[str, str]:
    return {key: env[name] for key, name in names.items() if env.get(name)}
