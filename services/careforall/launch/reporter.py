"""Tells the person at the terminal what happens: coloured on a terminal, plain lines anywhere else."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class OutputClosedError(Exception):
    """Nobody reads our output any more (``careforall up | head -1``)."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Say what happened instead of ending the program, which the library would do here."""
        raise OutputClosedError


class Reporter:
    """Writes progress lines; `OutputClosedError` when the reader went away."""

    def __init__(self, *, plain: bool, stream: TextIO | None = None) -> None:
        self.stream = stream or sys.stdout
        coloured = self.stream.isatty() and not plain
        self._console = _Console(file=self.stream, no_color=not coloured, highlight=False, soft_wrap=True, emoji=False)

    def line(self, text: str = "", style: str | None = None) -> None:
        """Write one line, or lose it where the disk is full."""
        try:
            self._console.print(text, style=style, markup=False)
            self.stream.flush()
        except (BrokenPipeError, OutputClosedError) as error:
            self._mute()
            raise OutputClosedError from error
        except OSError as error:
            if error.errno not in NO_ROOM:
                raise

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Report a step with the time it took once it is done."""
        began = time.monotonic()
        yield
        self.line(f"  ok  {title} ({time.monotonic() - began:.1f} s)", style="green")

    def _mute(self) -> None:
        """Point the descriptor elsewhere, or Python complains again when it flushes at exit."""
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 - a descriptor is what is needed
            os.dup2(nowhere.fileno(), self.stream.fileno())
