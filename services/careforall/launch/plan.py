"""What ``careforall up`` runs, as data: steps before the start, and the processes that stay.

The launcher knows nothing else about the platform, so a test hands it another plan and watches it work.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from msgspec import Struct

PAGES = {"docs": "/docs", "console": "/admin", "mailbox": "/mailbox", "simulator": "/simulator"}
ADMIN_EMAIL = "admin@example.org"
DONOR_EMAIL = "donor1@example.org"
RELAY_NICENESS, CONSUMERS_NICENESS = 5, 10
"""On one machine people come first: in a rush what follows a request waits for the cores that requests leave over."""


class Once(Enum):
    """How often a step runs in the life of an instance."""

    ALWAYS = "always"
    DEMO = "demo"
    ADMIN = "admin"


class Step(Struct, frozen=True, kw_only=True):
    """A command that must succeed before the services start; ``stdin`` names the secret it reads there."""

    title: str
    command: tuple[str, ...]
    once: Once = Once.ALWAYS
    stdin: str | None = None


class Process(Struct, frozen=True, kw_only=True):
    """A process that stays and answers `/readyz`: the first of a plan on the public port, each other on its own."""

    name: str
    command: tuple[str, ...]
    niceness: int = 0
    """How far it stands back behind the others, as `nice` counts."""


class Plan(Struct, frozen=True, kw_only=True):
    """All of it."""

    steps: tuple[Step, ...]
    processes: tuple[Process, ...]
    pages: Mapping[str, str] = MappingProxyType(PAGES)


def platform_plan() -> Plan:
    """The platform: one process answers requests, one passes events on, one does the rest of what happens in the background."""
    python = (sys.executable, "-m", "careforall")
    return Plan(
        steps=(
            Step(title="databases are up to date", command=(*python, "migrate", "all")),
            Step(
                title="administrator exists",
                command=(*python, "admin", "create", "--email", ADMIN_EMAIL, "--password-stdin"),
                once=Once.ADMIN,
                stdin="admin_password",
            ),
            Step(title="demo data is loaded", command=(*python, "demo", "load"), once=Once.DEMO, stdin="donor_password"),
        ),
        processes=(
            Process(name="api", command=(*python, "serve", "all", "--role", "api")),
            Process(name="relay", command=(*python, "serve", "all", "--role", "relay"), niceness=RELAY_NICENESS),
            Process(name="consumers", command=(*python, "serve", "all", "--role", "consumers"), niceness=CONSUMERS_NICENESS),
        ),
    )
