"""The process the launcher starts in tests instead of a service or a step; loads the standard library alone, to be quick.

python -m careforall_testing.stand_in_process service [--broken]
python -m careforall_testing.stand_in_process step FILE --name NAME [--broken]
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers the probes, and tells what environment the process was given."""

    def do_GET(self) -> None:
        """Answer a probe."""
        answers = {
            "/readyz": {},
            "/health": {"status": "ready", "services": {"donations": "ready", "payments": {"status": "degraded"}}},
            "/environment": {name: value for name, value in os.environ.items() if name.startswith("CAREFORALL_")},
            "/pid": {"pid": os.getpid()},
        }
        body = json.dumps(answers.get(self.path)).encode()
        self.send_response(http.HTTPStatus.OK if self.path in answers else http.HTTPStatus.NOT_FOUND)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Write one JSON line, as services do."""
        sys.stderr.write(json.dumps({"service": "donations", "event": format % args}) + "\n")


def serve(options: argparse.Namespace) -> None:
    """Run one stand-in service, with a child that does not end by itself when its parent is killed."""
    if options.broken:
        sys.exit("this stand-in cannot start")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    subprocess.Popen(["sleep", "600"])
    port, door = int(os.environ["CAREFORALL_PORT"]), int(os.environ["CAREFORALL_FD"])
    with http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler, bind_and_activate=False) as server:
        server.socket = socket.socket(fileno=door)
        server.serve_forever(poll_interval=0.05)


def step(options: argparse.Namespace) -> None:
    """Run one step: note that it ran, with what it read."""
    with Path(options.file).open("a", encoding="utf-8") as file:
        file.write(f"{options.name}:{sys.stdin.read().strip()}\n")
    sys.exit("this step cannot work" if options.broken else 0)


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("role", choices=("service", "step"))
    parser.add_argument("file", nargs="?", default="")
    parser.add_argument("--name", default="")
    parser.add_argument("--broken", action="store_true")
    options = parser.parse_args()
    {"service": serve, "step": step}[options.role](options)


if __name__ == "__main__":
    main()
