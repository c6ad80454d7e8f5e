"""Whom the servers run as: PostgreSQL refuses root, so root hands its servers to an ordinary user.

Two ways exist: change the user id, or, where that is forbidden, a user namespace in which we are somebody else.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from msgspec import Struct

from careforall.launch.errors import MissingError

UNSHARE = ("unshare", "-U", "--map-user=65534", "--map-group=65534")


class Identity(Struct, frozen=True, kw_only=True):
    """How to start a server: unchanged, as another user, or behind a prefix command."""

    uid: int | None = None
    gid: int | None = None
    prefix: tuple[str, ...] = ()

    @property
    def popen_arguments(self) -> dict[str, Any]:
        """Arguments for `subprocess.Popen` that take on this identity."""
        if self.uid is None:
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def own(self, path: Path) -> None:
        """Give a folder we made to this identity."""
        if self.uid is not None and self.gid is not None:
            os.chown(path, self.uid, self.gid)


def unprivileged_identity(*, sudo_user: str | None, data: Path, program: Path) -> Identity:
    """Find an identity under which ``program`` runs.

    Data that exists keeps its owner, so that ``sudo`` by another person still finds it.

    Raises:
        MissingError: neither way works here, with what was tried.
    """
    if os.getuid() != 0:
        return Identity()
    account = _owner_of(data) or _account(sudo_user) or _account("nobody")
    tried: list[str] = []
    if account is not None:
        changed = Identity(uid=account.pw_uid, gid=account.pw_gid)
        problem = _cannot_run(program, changed)
        if problem is None:
            return changed
        tried.append(f"as {account.pw_name}: {problem}")
    if shutil.which(UNSHARE[0]):
        problem = _cannot_run(program, Identity(prefix=UNSHARE))
        if problem is None:
            return Identity(prefix=UNSHARE)
        tried.append(f"in a user namespace: {problem}")
    raise MissingError(
        f"PostgreSQL does not run as root, and {program} could not be started as anybody else:\n  "
        + "\n  ".join(tried)
        + "\n  run careforall as an ordinary user, or set CAREFORALL_STATE_DIR to a folder every user may enter."
    )


def _cannot_run(program: Path, identity: Identity) -> str | None:
    try:
        answer = subprocess.run(
            [*identity.prefix, program, "--version"],
            capture_output=True,
            text=True,
            cwd="/",
            timeout=20,
            check=False,
            **identity.popen_arguments,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if answer.returncode == 0 else answer.stderr.strip() or f"exit status {answer.returncode}"


def _account(name: str | None) -> pwd.struct_passwd | None:
    try:
        account = pwd.getpwnam(name) if name else None
    except KeyError:
        return None
    return account if account is not None and account.pw_uid != 0 else None


def _owner_of(data: Path) -> pwd.struct_passwd | None:
    try:
        uid = data.stat().st_uid
        return pwd.getpwuid(uid) if uid != 0 else None
    except (OSError, KeyError):
        return None
