"""The process that owns one test run's shared servers; started by `careforall_testing.servers`, never by hand.

Every pytest worker holds a shared lock on the run's folder while it lives; the kernel drops the lock however the worker
ends. When the host can take the lock alone, nobody is left: it stops the servers and removes the folder.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import msgspec

from careforall.launch.errors import LaunchError
from careforall_testing.servers import CLIENTS, FAILED, READY, ServerSet

FIRST_CLIENT_S = 60.0
PAUSE_S = 0.1


def main() -> None:
    """Serve the folder named on the command line until its last client is gone."""
    folder = Path(sys.argv[1])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        try:
            servers = stack.enter_context(ServerSet.running(folder))
        except LaunchError as error:
            publish(folder / FAILED, str(error).encode())
            wait_for_last_client(folder)
            return
        publish(folder / READY, msgspec.json.encode(servers.urls))
        wait_for_last_client(folder)


def publish(path: Path, content: bytes) -> None:
    """Make a file appear whole."""
    draft = path.with_suffix(".draft")
    draft.write_bytes(content)
    draft.chmod(0o600)
    draft.rename(path)


def wait_for_last_client(folder: Path) -> None:
    """Return once no pytest worker holds the lock any more."""
    with (folder / CLIENTS).open("ab") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(PAUSE_S)
                continue
            return


if __name__ == "__main__":
    os.umask(0o022)
    main()
