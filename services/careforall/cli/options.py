"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

Instance = Annotated[
    str,
    typer.Option(
        "--instance",
        envvar="CAREFORALL_INSTANCE",
        metavar="NAME",
        help="Which platform of this clone: each name has its own ports, data and secrets.",
    ),
]


def _can_be_written(file: Path | None) -> Path | None:
    """Make the folder of a result, and refuse before the work is done what could not be written after it."""
    if file is None:
        return None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be written: {error.strerror}.") from error
    if file.is_dir() or not os.access(file if file.exists() else file.parent, os.W_OK):
        raise typer.BadParameter(f"{file} cannot be written.")
    return file


JsonFile = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", callback=_can_be_written, help="Write the result as JSON to this file too."),
]
