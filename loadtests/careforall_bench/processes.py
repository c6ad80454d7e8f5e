"""Memory and processor time of a tree of processes, read from /proc; used for the platform's memory and the cost of a life."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

PROC = Path("/proc")
PSS = "Pss:"
KILO = 1024
MEGA = 1_000_000
PARENT = 1
TIMES = range(11, 15)
"""User and system time of a process and of the children it has outlived."""


def supported() -> bool:
    """Whether this system tells (Linux does)."""
    return (PROC / "self" / "smaps_rollup").exists()


def tree(roots: Iterable[int]) -> set[int]:
    """The processes and everything they started."""
    children: dict[int, list[int]] = {}
    for pid in _pids():
        children.setdefault(_stat(pid, PARENT), []).append(pid)
    found: set[int] = set()
    waiting = list(roots)
    while waiting:
        pid = waiting.pop()
        if pid not in found:
            found.add(pid)
            waiting.extend(children.get(pid, []))
    return found


def memory_megabytes(pids: Iterable[int]) -> float:
    """Proportional memory: shared pages are shared out, so that the sum is what the machine gave."""
    return sum(_pss(pid) for pid in pids) / MEGA


def cpu_seconds(parts: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Processor time used so far, user and system, by part of the platform."""
    return {name: sum(_ticks(pid) for pid in pids) / os.sysconf("SC_CLK_TCK") for name, pids in parts.items()}


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _ticks(pid: int) -> int:
    return sum(_stat(pid, field) for field in TIMES)


def _stat(pid: int, field: int) -> int:
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return 0  # it ended while we looked
    return int(text.rpartition(")")[2].split()[field])


def _pss(pid: int) -> int:
    try:
        lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return 0  # it ended while we looked, or is another user's
    return sum(int(line.split()[1]) * KILO for line in lines if line.startswith(PSS))
