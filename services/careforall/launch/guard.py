"""What surrounds a running launcher: signals become a wish to stop, and a watcher survives it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from careforall.launch.state import InstanceFolder

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def stop_signals(request_stop: Callable[[], None]) -> Iterator[None]:
    """Turn the terminal's and the system's wishes to end into a call; a second one changes nothing."""
    before = {number: signal.signal(number, lambda *_: request_stop()) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def watched(folder: InstanceFolder) -> Iterator[None]:
    """Have a watcher end what we started if we are killed; see `careforall.launch.watcher`."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "careforall.launch.watcher", str(reading), str(folder.path)]
    with (folder.logs / "watcher.log").open("ab") as log:
        watcher = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            pass_fds=(reading,),
            start_new_session=True,
        )
    os.close(reading)
    try:
        yield
    finally:
        os.close(writing)
        watcher.wait()
