"""What keeps a drill from being held; what a drill finds is no error but part of its report.

LaunchError
    NotOurs        2  the platform is not one to break things on
    Unexpected     1  the platform answered otherwise than a drill needs to begin
"""

from __future__ import annotations

from careforall.launch.errors import LaunchError


class NotOurs(LaunchError):
    """A platform that moves real money or is not on this machine is not broken on purpose."""

    exit_status = 2


class Unexpected(LaunchError):
    """The platform does not do what a drill needs before it can break anything."""
