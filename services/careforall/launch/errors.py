"""What can go wrong while launching, each with the exit status the command line promises."""

from __future__ import annotations


class LaunchError(Exception):
    """The platform could not be started or stopped; the message says why and what to do next."""

    exit_status = 1


class UsageError(LaunchError):
    """The caller asked for something that makes no sense."""

    exit_status = 2


class MissingError(LaunchError):
    """This machine lacks something the launcher cannot do without."""

    exit_status = 3
