"""What a drill found, for people, scripts and the documentation."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

FOLDER = "drills"


class Check(Struct, frozen=True, kw_only=True):
    """One thing that had to be true, and what was seen."""

    name: str
    good: bool
    detail: str = ""


class Findings(Struct, frozen=True, kw_only=True):
    """What a drill counted."""

    given: int
    """Gifts and orders begun, or buyers who came."""
    accepted: int
    """Those acknowledged to whoever gave or bought."""
    completed: int
    """Accepted gifts that were completed, accepted orders that were confirmed."""
    lost: int
    """Acknowledged and not stored, or paid and not completed."""
    doubled: int
    """Charges, refunds, bookings, events and receipts that happened once more than they should."""
    misfits: int
    """Payments that do not stand as the gateway says."""
    recovery_seconds: float | None
    """From the end of the failure until nothing was on its way any more; None where that never came."""
    checks: list[Check]
    facts: dict[str, int | float | str]
    """What else is worth knowing."""


class Verified(Struct, frozen=True, kw_only=True):
    """What `careforall verify --full` said afterwards."""

    ok: bool
    violations: int
    hash: str
    broken: list[str]


class Report(Struct, frozen=True, kw_only=True):
    """The result of a drill; `ok` when every check held and the books balance."""

    drill: str
    ok: bool
    instance: str
    seed: int
    full: bool
    seconds: float
    rate: float
    buyers: int
    units: int
    started_at: datetime
    findings: Findings
    verified: Verified


def table(report: Report) -> list[tuple[str, str]]:
    """Return the figures as names and values."""
    found = report.findings
    recovery = "never" if found.recovery_seconds is None else f"{found.recovery_seconds:.1f} s"
    counts = [(name, f"{getattr(found, name):,}") for name in ("given", "accepted", "completed", "lost", "doubled", "misfits")]
    facts = [(name, f"{value:,}" if isinstance(value, int) else str(value)) for name, value in found.facts.items()]
    verified = "the books balance" if report.verified.ok else f"{report.verified.violations} violations"
    return [*counts, ("recovery", recovery), *facts, ("verify", verified)]


def text(report: Report) -> str:
    """Return a report for a terminal."""
    lines = [f"drill {report.drill}  seed {report.seed}  {_pressed(report)}", ""]
    lines += [f"  {name:<28}{value:>14}" for name, value in table(report)]
    lines += ["", *(_line(check) for check in report.findings.checks)]
    lines += [f"  FAIL verify: {name}" for name in report.verified.broken]
    return "\n".join([*lines, "", "The drill went well." if report.ok else "The drill found something wrong."])


def markdown(report: Report) -> str:
    """Return a report for the documentation."""
    head = f"### {report.drill}, seed {report.seed}, {_pressed(report)}"
    rows = [f"| {name} | {value} |" for name, value in table(report)]
    checks = [f"- {'held' if check.good else 'BROKEN'}: {check.name}{_detail(check)}" for check in report.findings.checks]
    return "\n".join([head, "", "| figure | value |", "| --- | --- |", *rows, "", *checks, ""])


def encode(report: Report) -> bytes:
    """Return a report as JSON that people can read too."""
    return msgspec.json.format(msgspec.json.encode(report)) + b"\n"


def store(report: Report, folder: Path) -> Path:
    """Keep a report among those of its instance, and return where."""
    kept = folder / FOLDER / f"{report.drill}-{report.started_at:%Y%m%dT%H%M%SZ}.json"
    write(report, [kept])
    return kept


def write(report: Report, files: Sequence[Path]) -> None:
    """Write a report to files."""
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(report))


def _pressed(report: Report) -> str:
    if report.buyers:
        return f"{report.buyers:,} buyers for {report.units:,} units"
    return f"{report.seconds:g} s at {report.rate:g}/s"


def _line(check: Check) -> str:
    return f"  {'ok  ' if check.good else 'FAIL'} {check.name}{_detail(check)}"


def _detail(check: Check) -> str:
    return f": {check.detail}" if check.detail else ""
