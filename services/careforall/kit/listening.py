"""Where a process listens: on ports nobody else answers on, or on sockets that were handed to it.

Granian shares the ports it opens (SO_REUSEPORT), and the kernel then deals connections out: of two platforms that were given the
same port each would answer half of the other's requests. Here that is refused, unless workers of one command share on purpose.
"""

import errno
import socket
from typing import Any

import msgspec
from granian._granian import SocketHolder
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.server.embed import Server

_BACKLOG = 4096
"""Connections that wait to be accepted."""
_CONNECTIONS = 16_384
"""Connections served at once: streams stay open for hours, and whoever comes when all are taken waits without an answer."""

_HTTP = HTTP1Settings(header_read_timeout=30_000)
"""Milliseconds for the headers of a request, from when the connection is there or the last answer went out."""


class PortTaken(Exception):
    """Another program listens on the port."""


class Listener(msgspec.Struct, frozen=True, kw_only=True):
    """Where a process listens.

    Args:
        host: Address of both listeners.
        port: Port of the public listener.
        internal_port: Port of the internal listener; 0 for none.
        shared: Whether other workers of the same command open these ports too.
        given: Descriptor of a socket that listens for the public listener already; 0 for none.
        internal_given: The same of the internal listener.
    """

    host: str
    port: int
    internal_port: int
    shared: bool = False
    given: int = 0
    internal_given: int = 0

    def public(self, app: Any) -> Server:
        """Serve an application publicly.

        Raises:
            PortTaken: Somebody else listens there.
        """
        return self._server(app, self.port, self.given)

    def internal(self, app: Any) -> Server:
        """Serve an application to other services.

        Raises:
            PortTaken: Somebody else listens there.
        """
        return self._server(app, self.internal_port, self.internal_given)

    def _server(self, app: Any, port: int, given: int) -> Server:
        return _Server(app, given or _opened(self.host, port, shared=self.shared))


class _Server(Server):
    """Granian's embedded server on a socket that listens already, which it closes in the end."""

    def __init__(self, app: Any, listening: int) -> None:
        # To find out which protocol a caller speaks takes a caller who says something; only HTTP/1.1 has a time for that.
        super().__init__(
            app,
            interface=Interfaces.ASGI,
            http=HTTPModes.http1,
            http1_settings=_HTTP,
            log_enabled=False,
            log_access=False,
            backlog=_BACKLOG,
            backpressure=_CONNECTIONS,
        )
        self._listening = listening

    def _init_shared_socket(self) -> None:
        self._shd: Any = SocketHolder(self._listening, False, _BACKLOG)  # type: ignore[call-arg]  # its stub lacks the constructor


def _opened(host: str, port: int, *, shared: bool) -> int:
    """Return the descriptor of a new listening socket; the caller owns it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG, reuse_port=shared).detach()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(f"Port {port} of {host} is taken by another program: stop that, or choose another port.") from error
