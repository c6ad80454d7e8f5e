"""Options that several commands share."""

from __future__ import annotations

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
JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON to this file too.")]
