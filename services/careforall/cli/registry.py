"""The services this release has, and their settings from the environment; for every command that runs or reads services."""

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from careforall.kit.service import Definition
from careforall.kit.settings import Settings, SettingsError, load
from careforall.launch.errors import LaunchError

NAMES = (
    "accounts",
    "donations",
    "payments",
    "totals",
    "notifications",
    "catalog",
    "search",
    "inventory",
    "sync",
    "audit",
    "simulator",
    "pricing",
    "carts",
    "orders",
)
"""In the order in which they start."""


class UnknownService(LaunchError):
    """Somebody asked for a service that does not exist."""

    exit_status = 2


class BadSettings(LaunchError):
    """The environment does not say what a service needs."""

    exit_status = 2


def chosen(names: Iterable[str]) -> list[Definition]:
    """Return definitions by name; `all` means all of them.

    Raises:
        UnknownService: If there is no such service.
    """
    wanted = list(dict.fromkeys(name for given in names for name in (NAMES if given == "all" else (given,))))
    for name in wanted:
        if name not in NAMES:
            raise UnknownService(f"there is no service {name!r}; choose from: {', '.join(NAMES)}, all")
    return [definition(name) for name in wanted]


def definition(name: str) -> Definition:
    """Return one service's definition."""
    found: Definition = importlib.import_module(f"careforall.{name}.app").SERVICE
    return found


def with_settings(definitions: Iterable[Definition], environment: Mapping[str, str]) -> list[tuple[Definition, Settings]]:
    """Return each definition with its settings.

    Raises:
        BadSettings: Naming the variable at fault.
    """
    given = with_files(environment)
    try:
        return [(found, load(found.settings, given, service=found.name)) for found in definitions]
    except SettingsError as error:
        raise BadSettings(str(error)) from error


def with_files(environment: Mapping[str, str]) -> dict[str, str]:
    """Let every variable that is empty or missing also be given as NAME_FILE, the path of a mounted secret.

    Raises:
        BadSettings: Naming the variable whose file cannot be read.
    """
    found = dict(environment)
    for name, path in environment.items():
        meant = name.removesuffix("_FILE")
        if name.startswith("CAREFORALL_") and name.endswith("_FILE") and path and not environment.get(meant):
            try:
                found[meant] = Path(path).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                raise BadSettings(f"{name} names {path}, which cannot be read: {error}") from error
    return found
