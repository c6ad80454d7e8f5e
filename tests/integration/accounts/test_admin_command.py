"""`careforall admin create` as operators run it."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from typing import Any

PASSWORD = "quiet harbour lamp"


def run(accounts: Any, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CAREFORALL_")},
        "CAREFORALL_POSTGRES_URL": accounts.settings.postgres_url,
        "CAREFORALL_ACCOUNTS_DATABASE_URL": accounts.settings.database_url,
        "CAREFORALL_REDIS_URL": accounts.settings.redis_url,
        "CAREFORALL_SECRET_KEY": secrets.token_hex(32),
    }
    command = [sys.executable, "-m", "careforall", "admin", "create", *words]
    return subprocess.run(command, env=environment, input=stdin, capture_output=True, text=True, timeout=60, check=False)


async def test_it_makes_up_a_password_and_prints_it_once(accounts: Any) -> None:
    done = run(accounts, "--email", "admin1@example.org")

    assert done.returncode == 0, done.stderr
    lines = dict(line.split(": ", 1) for line in done.stdout.splitlines())
    assert lines["administrator"] == "admin1@example.org"
    assert (await accounts.login("admin1@example.org", lines["password"]))["role"] == "ADMIN"


async def test_it_takes_a_password_from_standard_input_and_keeps_it_to_itself(accounts: Any) -> None:
    done = run(accounts, "--email", "admin1@example.org", "--password-stdin", stdin=PASSWORD + "\n")

    assert done.returncode == 0, done.stderr
    assert PASSWORD not in done.stdout + done.stderr
    assert (await accounts.login("admin1@example.org"))["role"] == "ADMIN"


async def test_an_installer_makes_the_first_administrator_only(accounts: Any) -> None:
    first = run(accounts, "--first", "--email", "admin1@example.org", "--password-stdin", stdin=PASSWORD + "\n")
    again = run(accounts, "--first", "--email", "admin1@example.org", "--password-stdin", stdin="another quiet lamp\n")

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert again.stdout == "There is an administrator already: nothing to do.\n"
    assert (await accounts.login("admin1@example.org"))["role"] == "ADMIN"


async def test_a_refused_password_is_said_plainly(accounts: Any) -> None:
    done = run(accounts, "--email", "admin1@example.org", "--password", "short")

    assert done.returncode == 1
    assert "at least 8 characters" in done.stderr
    assert "Traceback" not in done.stderr
    assert await accounts.database.fetch("SELECT 1 FROM users") == []
