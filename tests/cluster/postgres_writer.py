"""Writes through several connections until its input ends, then looks what is there; runs in a pod of the database image.

A row counts as acknowledged only when its commit was answered without the warning of a cancelled replication wait; a lost
connection or a time-out leaves it unknown: it may be there or not. One line of progress each half second, a JSON report at last.
"""

from __future__ import annotations

import itertools
import json
import os
import select
import sys
import threading
import time
import uuid
from typing import Any

import psycopg2  # type: ignore[import-untyped]  # in the image, not here
from psycopg2 import extensions

CONNECTIONS = 4
ANSWER_S = 2.0
PAUSE_S = 0.01
RETRY_S = 0.05
NOT_REPLICATED = "canceling wait for synchronous replication"
ERRORS = (psycopg2.Error, OSError)


class Writers:
    """What all connections together have done; times are seconds since the epoch."""

    def __init__(self) -> None:
        self.acknowledged: dict[str, float] = {}
        self.unknown: set[str] = set()
        self.refused = 0
        self.stopping = threading.Event()

    def write(self) -> None:
        """Write row after row on one connection at a time, a new one after every failure."""
        while not self.stopping.is_set():
            try:
                connection = connected()
            except ERRORS:
                self.refused += 1
                time.sleep(RETRY_S)
                continue
            try:
                self._write_on(connection)
            finally:
                connection.close()

    def _write_on(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            while not self.stopping.is_set():
                row = str(uuid.uuid4())
                try:
                    cursor.execute("INSERT INTO written (id) VALUES (%s)", [row])
                except ERRORS:
                    self.unknown.add(row)
                    return
                if any(NOT_REPLICATED in notice for notice in connection.notices):
                    self.unknown.add(row)
                    return
                self.acknowledged[row] = time.time()
                time.sleep(PAUSE_S)


def connected() -> Any:
    """Connect to a server that takes writes."""
    connection = psycopg2.connect(os.environ["DSN"], connect_timeout=2, target_session_attrs="read-write")
    connection.autocommit = True
    return connection


def wait_bounded(connection: Any) -> None:
    """Wait for the server's answer, but not for ever: a frozen one keeps the connection open and says nothing."""
    deadline = time.monotonic() + ANSWER_S
    while (state := connection.poll()) != extensions.POLL_OK:
        reading = [connection.fileno()] if state == extensions.POLL_READ else []
        writing = [connection.fileno()] if state == extensions.POLL_WRITE else []
        if not any(select.select(reading, writing, [], max(0.0, deadline - time.monotonic()))):
            raise psycopg2.OperationalError("no answer")


def widest_gap(moments: list[float]) -> tuple[float, float]:
    """Return the longest time between two acknowledged rows, and when it began."""
    gaps = [(later - earlier, earlier) for earlier, later in itertools.pairwise(moments)]
    return max(gaps, default=(0.0, 0.0))


def present() -> set[str]:
    """Read what the primary has, as soon as there is one."""
    while True:
        try:
            with connected().cursor() as cursor:
                cursor.execute("SELECT id::text FROM written")
                return {row for (row,) in cursor.fetchall()}
        except ERRORS:
            time.sleep(RETRY_S)


def main() -> None:
    """Write until the input ends and print the report."""
    with connected().cursor() as cursor:
        cursor.execute("CREATE TABLE IF NOT EXISTS written (id uuid PRIMARY KEY)")
    extensions.set_wait_callback(wait_bounded)
    writers = Writers()
    threads = [threading.Thread(target=writers.write) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        print(len(writers.acknowledged), flush=True)
    writers.stopping.set()
    for thread in threads:
        thread.join()
    extensions.set_wait_callback(None)
    there = present()
    gap, began = widest_gap(sorted(writers.acknowledged.values()))
    report = {
        "acknowledged": len(writers.acknowledged),
        "lost": len(writers.acknowledged.keys() - there),
        "unknown": len(writers.unknown),
        "unknown_but_there": len(writers.unknown & there),
        "refused_connections": writers.refused,
        "gap_seconds": round(gap, 3),
        "gap_began": began,
    }
    print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
