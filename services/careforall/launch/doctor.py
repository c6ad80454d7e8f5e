"""Looks at this machine and says what would keep the platform from running, each with its fix."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from msgspec import Struct

from careforall.launch.binaries import Program
from careforall.launch.errors import MissingError
from careforall.launch.identity import unprivileged_identity
from careforall.launch.local_servers import KINDS, locate
from careforall.launch.ports import is_free
from careforall.launch.processes import is_running
from careforall.launch.settings import DEFAULT_PORT, LaunchEnvironment
from careforall.launch.state import InstanceFolder

OLDEST_PYTHON = (3, 11)
NEEDED_DISK = 1_000_000_000
GIGABYTE = 1_000_000_000


class Finding(Struct, frozen=True, kw_only=True):
    """One thing that was looked at. A problem that does not stop the platform is a hint."""

    subject: str
    detail: str
    good: bool = True
    essential: bool = True
    fix: str = ""


def examine(environment: LaunchEnvironment, instance: str) -> list[Finding]:
    """Look at everything; never raises for what it finds."""
    return [
        _python(),
        _uv(environment),
        *_servers(environment),
        _state_folder(environment),
        disk(environment),
        _port(),
        _instance(environment, instance),
    ]


def _python() -> Finding:
    return Finding(
        subject="python",
        detail=f"{platform.python_version()} at {sys.executable}",
        good=sys.version_info >= OLDEST_PYTHON,
        fix="install Python 3.11 or later and name it in CAREFORALL_PYTHON",
    )


def _uv(environment: LaunchEnvironment) -> Finding:
    installed = sorted(environment.places.home.glob("uv-*/bin/uv"))
    found = str(installed[-1]) if installed else shutil.which("uv", path=environment.path)
    return Finding(
        subject="uv",
        detail=found or "not installed",
        good=found is not None,
        essential=False,
        fix="run ./careforall doctor from the clone: the script installs it",
    )


def _servers(environment: LaunchEnvironment) -> Iterator[Finding]:
    for role, (program, _) in KINDS.items():
        if role in environment.server_urls:
            yield Finding(subject=program.name, detail=f"named by CAREFORALL_{role.upper()}_URL")
        else:
            yield _server(environment, program)


def _server(environment: LaunchEnvironment, program: Program) -> Finding:
    try:
        binary = locate(program, environment)
        identity = unprivileged_identity(sudo_user=environment.sudo_user, data=environment.places.instances, program=binary.path)
    except MissingError as error:
        reason, _, fix = str(error).partition("\n")
        return Finding(subject=program.name, detail=reason, good=False, fix=fix.strip())
    runs_as = f", runs as user {identity.uid}" if identity.uid is not None else ""
    return Finding(subject=program.name, detail=f"{binary.version}, {binary.provenance}: {binary.path}{runs_as}")


def _state_folder(environment: LaunchEnvironment) -> Finding:
    folder = environment.places.home
    existing = _nearest_existing(folder)
    return Finding(
        subject="state",
        detail=f"{folder}{'' if folder == existing else ' (not made yet)'}",
        good=os.access(existing, os.W_OK | os.X_OK),
        fix=f"{existing} is not writable: set CAREFORALL_STATE_DIR to a folder that is",
    )


def disk(environment: LaunchEnvironment) -> Finding:
    """Whether there is room for data."""
    free = shutil.disk_usage(_nearest_existing(environment.places.home)).free
    return Finding(
        subject="disk",
        detail=f"{free / GIGABYTE:.1f} GB free for data",
        good=free >= NEEDED_DISK,
        fix="make room (1 GB is little enough), or set CAREFORALL_STATE_DIR to a folder on another disk",
    )


def _port() -> Finding:
    free = is_free(DEFAULT_PORT)
    return Finding(
        subject="port",
        detail=f"{DEFAULT_PORT} is {'free' if free else 'taken'}",
        good=free,
        essential=False,
        fix="nothing to do: another port is used; --port N names one",
    )


def _instance(environment: LaunchEnvironment, instance: str) -> Finding:
    state = InstanceFolder(environment.places.instance(instance)).read_state()
    if state is None:
        return Finding(subject="instance", detail=f"{instance} was never started")
    if is_running(state.launcher_pid, state.launcher_start):
        how = f"runs on port {state.port}" if state.ready else "starts"
        return Finding(subject="instance", detail=f"{instance} {how}")
    left = not state.launcher_pid
    return Finding(
        subject="instance",
        detail=f"{instance} is stopped" if left else f"{instance} ended without stopping in order",
        good=left,
        essential=False,
        fix="nothing to do: the next ./careforall up tidies up",
    )


def _nearest_existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())
