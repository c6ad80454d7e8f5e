"""Where the launcher keeps things, so that two clones, users or instances never meet.

A plain user's state lives in ``.care`` inside the clone. Root's lives in a folder other users may enter, because
PostgreSQL refuses to run as root and the user it runs as cannot look into root's home.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from msgspec import Struct

from careforall.launch.errors import UsageError

ROOT_HOME = Path("/var/lib/careforall")
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,30}")


class Places(Struct, frozen=True, kw_only=True):
    """The clone and the folder that holds its tools and state."""

    root: Path
    home: Path

    @property
    def servers(self) -> Path:
        """Folder of the pinned server wheels; a new pin is a new folder, so an update never mixes files."""
        checksum = hashlib.sha256((self.root / "deploy" / "servers.txt").read_bytes()).hexdigest()
        return self.home / f"servers-{checksum[:12]}"

    @property
    def instances(self) -> Path:
        """Folder with one sub-folder per instance of this clone."""
        if self.home == self.root / ".care":
            return self.home / "state"
        digest = hashlib.sha256(str(self.root).encode()).hexdigest()
        return self.home / f"{self.root.name}-{digest[:8]}"

    def instance(self, name: str) -> Path:
        """Folder of one instance; refuses names that could leave it."""
        if not NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no instance name: use up to 31 of a-z, 0-9 and '-'.")
        return self.instances / name


def find_places(*, root: Path, state_dir: str | None, uid: int) -> Places:
    """Decide on the state folder: the named one, else root's shared one, else ``.care`` in the clone."""
    if state_dir:
        return Places(root=root, home=Path(state_dir).absolute())
    return Places(root=root, home=ROOT_HOME if uid == 0 else root / ".care")


def clone_root() -> Path:
    """Folder of the checkout this code runs from."""
    return Path(__file__).resolve().parents[3]
