"""TCP ports on the loopback address: free ones, and those an instance answers on."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from careforall.launch.errors import LaunchError

LOOPBACK = "127.0.0.1"
BACKLOG = 4096


def free_port() -> int:
    """A port nobody listens on right now; the caller must still verify who answers on it."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def is_free(port: int) -> bool:
    """Whether we could listen on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def port_or_free(preferred: int) -> int:
    """The preferred port when it is free, else any free one."""
    return preferred if preferred and is_free(preferred) else free_port()


@dataclass(frozen=True, kw_only=True)
class Doors:
    """The sockets an instance answers on, opened before there is anybody to answer and kept open by its launcher.

    A port that is only chosen can be taken by another program, or by another instance that starts at the same moment, until
    somebody listens on it. And who comes while a process is started again waits for it instead of being refused.
    """

    public: socket.socket
    internal: Mapping[str, socket.socket]

    @classmethod
    def opened(cls, public: Sequence[int], *, internal: Mapping[str, int]) -> Doors:
        """Open them.

        Args:
            public: ports for the public door, the first free one is taken; 0 is any.
            internal: the port each process would like for its own door; it gets another if that is taken.

        Raises:
            LaunchError: none of the public ports is free.
        """
        return cls(public=_opened(public), internal={name: _opened((port, 0)) for name, port in internal.items()})

    @property
    def port(self) -> int:
        """The public port."""
        return _port(self.public)

    @property
    def internal_ports(self) -> dict[str, int]:
        """The port of each process's own door."""
        return {name: _port(door) for name, door in self.internal.items()}

    def of(self, process: str, *, serves: bool) -> list[int]:
        """The descriptors a process answers on: that of its own door, after the public one if it serves there."""
        own = self.internal[process].fileno()
        return [self.public.fileno(), own] if serves else [own]

    def close(self) -> None:
        """Leave them to the processes that have them."""
        for door in (self.public, *self.internal.values()):
            door.close()


def _opened(ports: Sequence[int]) -> socket.socket:
    """Listen on the first of these ports that we may have."""
    for port in ports:
        try:
            return socket.create_server((LOOPBACK, port), backlog=BACKLOG)
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            why = "is taken by another program" if taken else f"cannot be used ({os.strerror(error.errno or 0)})"
    raise LaunchError(f"Port {port} {why}: choose another, or --port 0 for any free one.")


def _port(door: socket.socket) -> int:
    return int(door.getsockname()[1])
