"""Starts processes that do not outlive the launcher, and ends them without mistaking a stranger for them.

A process id alone is no proof: ids are reused. Every id we remember is kept with the start time of its process.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from careforall.launch.errors import LaunchError
from careforall.launch.identity import Identity

PR_SET_PDEATHSIG = 1
PAUSE_S = 0.01


def spawn(
    command: Sequence[str | Path],
    *,
    log: Path,
    death_signal: signal.Signals = signal.SIGTERM,
    identity: Identity | None = None,
    env: Mapping[str, str] | None = None,
    cwd: Path | str = "/",
    stdin: str | None = None,
    keep: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a process in its own session, writing to ``log``, that the kernel signals when we die.

    Args:
        command: what to run.
        log: file its output is appended to.
        death_signal: what the kernel sends it when we die.
        identity: whom it runs as.
        env: its environment, complete; ours if None.
        cwd: folder it works in.
        stdin: what it reads; nothing if None.
        keep: descriptors of ours that it has too.

    Raises:
        LaunchError: called outside the main thread; the kernel takes the end of the starting *thread* for our death.
    """
    if threading.current_thread() is not threading.main_thread():
        raise LaunchError("Processes must be started from the main thread: they would end with the thread.")
    who = identity or Identity()
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*who.prefix, *map(str, command)],
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            cwd=cwd,
            pass_fds=keep,
            start_new_session=True,
            preexec_fn=die_with_parent(death_signal),  # noqa: PLW1509 - must run after the change of user, which clears it
            **who.popen_arguments,
        )
    if stdin is not None:
        _feed(process, stdin)
    return process


def die_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    """Make the function a child calls before it becomes the new program; Linux only, elsewhere the watcher acts."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def arrange() -> None:
        prctl(PR_SET_PDEATHSIG, int(death_signal))
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return arrange


def _feed(process: subprocess.Popen[bytes], text: str) -> None:
    """Hand over a short text as the whole standard input; a process that does not want it may have ended already."""
    if process.stdin is None:
        return
    with contextlib.suppress(BrokenPipeError), process.stdin as pipe:
        pipe.write(text.encode() + b"\n")


def stand_back(pid: int, niceness: int) -> None:
    """Lower a process's claim to the cores, and that of each of its threads.

    Linux may share the cores among sessions first, and each of our processes is a session: then the session's claim counts.
    """
    for thread in _threads_of(pid):
        with contextlib.suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, thread, min(19, os.getpriority(os.PRIO_PROCESS, thread) + niceness))
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(niceness))


def _threads_of(pid: int) -> list[int]:
    """The ids that count as a process's own: Linux knows each thread by one, others the process alone."""
    try:
        return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return [pid]


def started_at(pid: int) -> str | None:
    """When the process with this id was started, as an opaque text; None when there is none (or only its remains)."""
    if sys.platform == "linux":
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    answer = subprocess.run(["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return answer.stdout.strip() or None


def is_running(pid: int, start: str) -> bool:
    """Whether the very process we remember still runs."""
    return started_at(pid) == start


def children_of(pid: int) -> list[int]:
    """Direct children of a process (Linux; elsewhere none are known)."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def send(pid: int, what: signal.Signals) -> None:
    """Signal a process that may already be gone."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return


def end_group(leader: int) -> None:
    """Kill what is left of a process group whose leader has just ended: the workers of a server that was killed.

    Only for groups we made a moment ago: the id of a group that is empty may belong to a stranger one day.
    """
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def poll(condition: Callable[[], bool], *, timeout_s: float, pause_s: float = PAUSE_S) -> bool:
    """Ask again and again until the condition holds or time is up; returns whether it held."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def stop_process(process: subprocess.Popen[bytes], how: signal.Signals, *, timeout_s: float = 15) -> None:
    """End our own child: ask, wait, then insist."""
    if process.poll() is not None:
        return
    process.send_signal(how)
    try:
        process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def stop_strangers(processes: Sequence[tuple[int, str, signal.Signals]], *, timeout_s: float = 10) -> None:
    """End processes that are not our children (left by a dead launcher), given as id, start time and signal."""
    alive = [entry for entry in processes if is_running(entry[0], entry[1])]
    for pid, _, how in alive:
        send(pid, how)
    if poll(lambda: not any(is_running(pid, start) for pid, start, _ in alive), timeout_s=timeout_s):
        return
    for pid, start, _ in alive:
        if is_running(pid, start):
            send(pid, signal.SIGKILL)
