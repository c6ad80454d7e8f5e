"""Reads the logs of all processes as one stream, each line with the name of its process in front."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from careforall.launch.errors import UsageError

PAUSE_S = 0.1
SHOWN = 200
LARGEST = 64 * 1024 * 1024
STREAM_PARTS = ("api", "relay", "consumers")
NO_ONE_SERVICE = ("all", "platform")
"""What a shared process calls itself, and requests that belong to none."""

Line = tuple[str, str]


def curb(files: Iterable[Path], *, largest: int = LARGEST) -> None:
    """Move what is in files that have grown too large beside them (`.log.1`), in place of what was moved there before.

    They are emptied, not replaced: whoever writes them has them open, and appends.
    """
    for path in files:
        with contextlib.suppress(OSError):
            if path.stat().st_size > largest:
                shutil.copyfile(path, path.with_name(f"{path.name}.1"), follow_symlinks=False)
                os.truncate(path, 0)


def choose(
    files: Mapping[str, Path], wanted: str | None, services: Sequence[str] = ()
) -> tuple[dict[str, Path], Callable[[str], bool]]:
    """Pick the files to read, and which of their lines; a service inside a shared process is picked by its lines.

    Args:
        files: logs by the name of their process.
        wanted: a process or a service; None picks all.
        services: those inside the shared processes; empty while nobody knows.

    Raises:
        UsageError: there is nothing of that name.
    """
    if wanted is None:
        return dict(files), lambda _line: True
    if wanted in files:
        return {wanted: files[wanted]}, lambda _line: True
    shared = {name: path for name, path in files.items() if name in STREAM_PARTS}
    if not shared or (services and wanted not in {*services, *NO_ONE_SERVICE}):
        raise UsageError(f"No log called {wanted!r}; there are: {', '.join((*files, *services)) or 'none yet'}.")
    return shared, lambda line: _service_of(line) == wanted


def last_lines(files: Mapping[str, Path], keep: Callable[[str], bool], *, count: int = SHOWN) -> Iterator[Line]:
    """The last lines of each file."""
    for name, path in files.items():
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from ((name, line.rstrip("\n")) for line in deque(filter(keep, file), maxlen=count))


def follow(files: Mapping[str, Path], keep: Callable[[str], bool], *, count: int = SHOWN) -> Generator[Line, None, None]:
    """The last lines of each file, and from then on every new one; ends only when the caller stops asking."""
    opened = {name: path.open(encoding="utf-8", errors="replace") for name, path in files.items()}
    try:
        for name, file in opened.items():
            yield from ((name, line.rstrip("\n")) for line in deque(filter(keep, file), maxlen=count))
        while True:
            new = [(name, line) for name, file in opened.items() for line in _complete_lines(file) if keep(line)]
            yield from new
            if not new:
                time.sleep(PAUSE_S)
    finally:
        for file in opened.values():
            file.close()


def _complete_lines(file: TextIO) -> Iterator[str]:
    if os.fstat(file.fileno()).st_size < os.lseek(file.fileno(), 0, os.SEEK_CUR):
        file.seek(0)  # it grew too large and was emptied
    while True:
        place = file.tell()
        line = file.readline()
        if not line.endswith("\n"):
            file.seek(place)
            return
        yield line.rstrip("\n")


def _service_of(line: str) -> str | None:
    try:
        entry: Any = json.loads(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    name = entry.get("service", entry.get("service.name"))
    return str(name) if name is not None else None
