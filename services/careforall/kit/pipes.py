"""What a process writes for the one that started it: all of it, or an error."""

import os


def write_all(descriptor: int, data: bytes) -> None:
    """Write everything to an open descriptor, and leave it open.

    Under PYTHONUNBUFFERED the standard output is no buffer: interrupted by a signal, it writes a part and only returns how much.

    Raises:
        OSError: Nobody reads any more.
    """
    with os.fdopen(descriptor, "wb", closefd=False) as out:
        out.write(data)
