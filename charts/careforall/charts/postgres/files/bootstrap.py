"""Makes one database with one role for each service, and hands Patroni's settings over; run again, it repeats nothing.

Runs in the bootstrap Job with the image's own Python. The mounted Secret has one DSN per service under its name, and the reader's
DSN under `reader-<service>`: roles, passwords and database names are taken from there, so a Secret of one's own works as well.
"""

import base64
import contextlib
import json
import os
import pathlib
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import SplitResult, unquote, urlsplit

import psycopg2
import yaml
from psycopg2 import sql
from psycopg2.extensions import connection, cursor, encrypt_password

DSNS = pathlib.Path("/etc/careforall/databases")
SETTINGS = pathlib.Path("/etc/careforall/settings/dynamic.yaml")
READER = "reader-"
ADMIN = "admin-url"
LOCK = 0x43464232
GIVE_UP_S = int(os.environ.get("GIVE_UP_S", "300"))
RETRY_S = 1


def main() -> None:
    """Wait for the primary, make what is missing, and say what was done."""
    dsns = {path.name: urlsplit(path.read_text().strip()) for path in DSNS.iterdir() if path.is_file()}
    owners = {name: dsn for name, dsn in dsns.items() if not name.startswith(READER) and name != ADMIN}
    readers = {name: dsn for name, dsn in dsns.items() if name.startswith(READER)}
    with contextlib.closing(connected("postgres")) as server, server.cursor() as making:
        making.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        making.execute("REVOKE CONNECT ON DATABASE postgres, template1 FROM PUBLIC")
        for dsn in [*owners.values(), *readers.values()]:
            ensure_role(making, dsn)
        for dsn in owners.values():
            ensure_database(making, dsn)
        for dsn in readers.values():
            let_read(making, dsn)
    hand_over(yaml.safe_load(SETTINGS.read_text()))
    print(f"{len(owners)} databases are as they should be: {', '.join(sorted(owners))}")


def connected(database: str) -> connection:
    """Connect as superuser, waiting for a primary as long as a first start may take."""
    deadline = time.monotonic() + GIVE_UP_S
    while True:
        try:
            made = psycopg2.connect(
                host=os.environ["POSTGRES_HOST"],
                user="postgres",
                password=os.environ["POSTGRES_PASSWORD"],
                dbname=database,
                connect_timeout=5,
                target_session_attrs="read-write",
            )
        except psycopg2.OperationalError as error:
            if time.monotonic() > deadline:
                sys.exit(f"no primary after {GIVE_UP_S} s: {error}")
            time.sleep(RETRY_S)
            continue
        made.autocommit = True
        return made


def ensure_role(cursor: cursor, dsn: SplitResult) -> None:
    """Make the role, or give it the password the Secret says; the server never sees the password itself."""
    role = sql.Identifier(dsn.username)
    cursor.execute("SELECT FROM pg_roles WHERE rolname = %s", [dsn.username])
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE").format(role))
    verifier = encrypt_password(unquote(dsn.password), dsn.username, cursor, "scram-sha-256")
    cursor.execute(sql.SQL("ALTER ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(verifier)))


def ensure_database(cursor: cursor, dsn: SplitResult) -> None:
    """Make the database, owned by its role and closed to everybody else."""
    name, role = dsn.path.lstrip("/"), sql.Identifier(dsn.username)
    database = sql.Identifier(name)
    cursor.execute("SELECT FROM pg_database WHERE datname = %s", [name])
    if cursor.fetchone() is None:
        cursor.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
    cursor.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(database, role))
    cursor.execute(sql.SQL("REVOKE CONNECT, TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))


def let_read(cursor: cursor, dsn: SplitResult) -> None:
    """Let the reader into one database; it may read all tables there are and will be, and write none."""
    role = sql.Identifier(dsn.username)
    cursor.execute(sql.SQL("GRANT pg_read_all_data TO {}").format(role))
    cursor.execute(sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(role))
    cursor.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(dsn.path.lstrip("/")), role))


def hand_over(settings: dict[str, object]) -> None:
    """Give Patroni the settings that it reads from its ConfigMap at the very first start only."""
    login = base64.b64encode(f"patroni:{os.environ['PATRONI_PASSWORD']}".encode()).decode()
    request = urllib.request.Request(
        f"http://{os.environ['POSTGRES_HOST']}:8008/config",
        data=json.dumps(settings).encode(),
        headers={"Authorization": f"Basic {login}", "Content-Type": "application/json"},
        method="PATCH",
    )
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        sys.exit(f"Patroni refused its settings: {error.status} {error.read().decode(errors='replace')}")


if __name__ == "__main__":
    main()
