"""What a process tells the one that started it arrives whole, also when it is interrupted while it writes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

_TELL = """
import signal, sys
from careforall.kit.pipes import write_all
signal.signal(signal.SIGUSR1, lambda *_: None)
print("ready", file=sys.stderr, flush=True)
write_all(sys.stdout.fileno(), b"x" * int(sys.argv[1]))
"""
WHOLE = 1_000_000


def test_an_interrupted_process_writes_everything() -> None:
    """Unbuffered, as containers run Python: a signal comes while the pipe is full, again and again."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", _TELL, str(WHOLE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stderr.readline() == b"ready\n"
        told = b""
        while len(told) < WHOLE and (part := os.read(process.stdout.fileno(), 50_000)):
            told += part
            if len(told) < WHOLE / 2:  # while it has certainly not ended
                process.send_signal(signal.SIGUSR1)
                time.sleep(0.001)  # lets it fill the pipe again
        process.communicate()
    assert (process.returncode, len(told)) == (0, WHOLE)
