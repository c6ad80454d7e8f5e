"""What an instance remembers between commands: its processes, its addresses, its secrets. All files are private.

``pids.json`` is written whenever a process starts, so that a later command, or the watcher, can end what a dead launcher
left. It uses the standard library alone: the watcher must start quickly and load nothing else.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from careforall.launch.errors import LaunchError

PIDS, STATE, SECRETS, LOCK, LOGS = "pids.json", "state.json", "secrets.json", "launcher.lock", "logs"


@dataclass(frozen=True, kw_only=True)
class Running:
    """A process we started; its start time tells it from a later one with the same id."""

    name: str
    pid: int
    start: str
    stop_signal: int
    group: str

    @property
    def entry(self) -> tuple[int, str, signal.Signals]:
        """What `careforall.launch.processes.stop_strangers` takes."""
        return self.pid, self.start, signal.Signals(self.stop_signal)


@dataclass(frozen=True, kw_only=True)
class State:
    """What the last launcher knew about itself; ``launcher`` says whether it still lives."""

    instance: str
    launcher_pid: int = 0
    launcher_start: str = ""
    ready: bool = False
    port: int = 0
    internal_ports: dict[str, int] = field(default_factory=dict)
    server_ports: dict[str, int] = field(default_factory=dict)
    dsn: dict[str, str] = field(default_factory=dict)
    services: list[str] = field(default_factory=list)
    demo_loaded: bool = False
    admin_created: bool = False


class InstanceFolder:
    """The folder of one instance."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def logs(self) -> Path:
        """Folder of the log files, one per process."""
        return self.path / LOGS

    def make(self) -> None:
        """Make the folder: servers running as another user may pass through, nobody may list it."""
        self.path.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.path.chmod(0o711)
        self.logs.mkdir(exist_ok=True, mode=0o700)

    def read_state(self) -> State | None:
        """The state as far as it is known, or None when there never was any or it is damaged."""
        found = self._read(STATE)
        if not isinstance(found, dict):
            return None
        empty = asdict(State(instance=self.path.name))
        return State(**{key: found[key] if isinstance(found.get(key), type(value)) else value for key, value in empty.items()})

    def write_state(self, state: State) -> None:
        """Replace the state."""
        self._write(STATE, asdict(state))

    def read_running(self) -> list[Running]:
        """Processes that were started and not yet stopped, in the order of starting."""
        found, known = self._read(PIDS), Running.__dataclass_fields__.keys()
        entries = found if isinstance(found, list) else []
        return [Running(**entry) for entry in entries if isinstance(entry, dict) and entry.keys() == known]

    def write_running(self, running: list[Running]) -> None:
        """Replace the list of processes."""
        self._write(PIDS, [asdict(entry) for entry in running])

    def read_secrets(self) -> dict[str, Any]:
        """The instance's secrets; empty before they are made.

        Raises:
            LaunchError: they were made and cannot be read, or are gone while the data is there.
        """
        found = self._read(SECRETS)
        if isinstance(found, dict) and found.get("secret_key"):
            return found
        if found is None and not (self.path / SECRETS).exists() and not self._has_data():
            return {}
        raise LaunchError(
            f"{self.path / SECRETS} is damaged or gone, and the data cannot be read with other secrets.\n"
            "  Bring the file back from a backup and start again,\n"
            f"  or give the data up: ./careforall down --purge --instance {self.path.name}"
        )

    def write_secrets(self, secrets: dict[str, Any]) -> None:
        """Replace the secrets."""
        self._write(SECRETS, secrets)

    @contextmanager
    def locked(self) -> Iterator[bool]:
        """Hold the instance for one launcher; yields False when another holds it. The kernel drops it with us."""
        with (self.path / LOCK).open("ab") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            file.truncate(0)
            file.write(str(os.getpid()).encode())
            file.flush()
            yield True

    def holder(self) -> str | None:
        """The id of the process that holds the instance; None when nobody does."""
        try:
            with (self.path / LOCK).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return None
        except BlockingIOError:
            return (self.path / LOCK).read_text()
        return None

    def _has_data(self) -> bool:
        state = self.read_state()
        return (self.path / "postgres").exists() or (state is not None and state.admin_created)

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text(encoding="utf-8"))
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return None

    def _write(self, name: str, content: Any) -> None:
        draft = self.path / f".{name}.{os.getpid()}"
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file, indent=2)
            file.flush()
            os.fsync(file.fileno())  # or a power cut leaves an empty file, and of the secrets there is no other copy
        draft.rename(self.path / name)
