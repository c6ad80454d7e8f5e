"""Looks up what was promised, and judges. Also a program of its own, for where another one has played (the chart's Jobs)."""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx2
import msgspec

from careforall_load.report import Report, judge, rendered
from careforall_load.workplace import Order, Workplace


def verdict(order: Order, place: Workplace, *, profile: str, patience: float) -> Report:
    """Return the verdict on what a tool has played.

    Args:
        order: What was to be played.
        place: Where the tool left what it saw.
        profile: Its name, for the report.
        patience: Seconds that what was promised may take to be found; after a failover the platform may still be coming back.
    """
    promises = place.promised()
    played = place.seen()
    return Report(
        profile=profile,
        run=order.run,
        url=order.url,
        played=played,
        promised=len(promises),
        lost=lost(order, promises, patience),
        crossed=judge(order.table, order.profile, played),
    )


def lost(order: Order, promises: Sequence[dict[str, Any]], patience: float) -> list[str]:
    """Return the paths of what was promised and is not there."""
    missing = list(promises)
    deadline = time.monotonic() + patience
    with httpx2.Client(base_url=order.url, headers=order.headers, timeout=10) as client:
        while True:
            missing = [promise for promise in missing if not _found(client, promise)]
            if not missing or time.monotonic() > deadline:
                return [promise["path"] for promise in missing]
            time.sleep(1)  # not a wait: the distance between looks


def _found(client: httpx2.Client, promise: dict[str, Any]) -> bool:
    try:
        return client.get(promise["path"], headers=promise["headers"]).status_code == httpx2.codes.OK
    except httpx2.TransportError:
        return False


def main() -> int:
    """Judge what lies in a folder; return the exit status."""
    parser = argparse.ArgumentParser(description="Judge what was played.")
    parser.add_argument("--folder", type=Path, required=True, help="where the tool left what it saw")
    parser.add_argument("--order", type=Path, required=True, help="what was to be played")
    parser.add_argument("--profile", required=True, help="its name")
    parser.add_argument("--patience", type=float, default=30, help="seconds that what was promised may take to be found (30)")
    given = parser.parse_args()
    order = msgspec.json.decode(given.order.read_bytes(), type=Order)
    order = msgspec.structs.replace(order, run=order.run or os.environ.get("CAREFORALL_LOAD_RUN", ""))
    report = verdict(order, Workplace(given.folder), profile=given.profile, patience=given.patience)
    print(rendered(report))
    return 0 if report.good else 1


if __name__ == "__main__":
    raise SystemExit(main())
