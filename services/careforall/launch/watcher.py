"""Ends what the launcher started when the launcher itself is killed; started by it, in a session of its own.

It holds the reading end of a pipe whose writing end only the launcher has. End of file means that the launcher is gone:
whatever ``pids.json`` still names is stopped, services first, then servers. After an orderly end it names nothing.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from careforall.launch.processes import end_group, stop_strangers
from careforall.launch.state import InstanceFolder, Running

SERVICE, SERVER = "service", "server"


def main() -> None:
    """Watch the pipe and folder named on the command line."""
    for harmless in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(harmless, signal.SIG_IGN)
    pipe, folder = int(sys.argv[1]), InstanceFolder(Path(sys.argv[2]))
    while os.read(pipe, 1):
        continue
    for ended in stop_left_overs(folder):
        if ended.group == SERVICE:
            end_group(ended.pid)


def stop_left_overs(folder: InstanceFolder) -> list[Running]:
    """Stop every process that is still named and running, services before servers; returns what was named."""
    named = folder.read_running()
    for group in (SERVICE, SERVER):
        stop_strangers([entry.entry for entry in reversed(named) if entry.group == group])
    if named:
        folder.write_running([])
    return named


if __name__ == "__main__":
    main()
