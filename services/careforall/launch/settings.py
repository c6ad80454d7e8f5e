"""What the launcher is told: about the machine by `careforall.cli.environment`, about the wish by the command line."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from careforall.launch.places import Places

DEFAULT_PORT = 8000


class LaunchEnvironment(Struct, frozen=True, kw_only=True):
    """What the launcher takes from the environment."""

    places: Places
    path: str
    explicit_binaries: Mapping[str, str]
    server_urls: Mapping[str, str]
    sudo_user: str | None
    plain: bool
    variables: Mapping[str, str]


class Wish(Struct, frozen=True, kw_only=True):
    """What the caller of ``up`` asked for; ``port`` None means the usual one or, if taken, any other."""

    instance: str
    port: int | None = None
    demo: bool = True
