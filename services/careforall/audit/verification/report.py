"""What a verification found, for people and for scripts."""

import hashlib
from datetime import datetime

import msgspec

EXAMPLES = 20


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """A promise about one service's books."""

    name: str
    service: str
    sql: str
    whole: bool = False
    """It looks at whole tables for what a constraint refuses anyway: only a full verification runs it."""


class Violation(msgspec.Struct, frozen=True, kw_only=True, order=True):
    """One broken promise: what it is about, and what is wrong with it."""

    key: str
    detail: str = ""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What one check found."""

    name: str
    services: tuple[str, ...]
    violations: list[Violation] = []

    def still(self, again: "Outcome") -> "Outcome":
        """Return what a second look found as well."""
        keys = {violation.key for violation in self.violations}
        return msgspec.structs.replace(again, violations=[one for one in again.violations if one.key in keys])


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A check as reported: how many violations, and some of them."""

    name: str
    services: tuple[str, ...]
    violations: int
    examples: list[Violation]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a verification. `hash` is that of the facts: same books, same hash."""

    ok: bool
    full: bool
    started_at: datetime
    cut_off: datetime
    under_way: int
    """Messages that were published or wait to be, and are not applied yet."""
    facts: dict[str, str]
    hash: str
    findings: list[Finding]

    @property
    def violations(self) -> int:
        """All violations together."""
        return sum(finding.violations for finding in self.findings)


def finding(outcome: Outcome) -> Finding:
    """Return an outcome as reported."""
    return Finding(
        name=outcome.name,
        services=outcome.services,
        violations=len(outcome.violations),
        examples=sorted(outcome.violations)[:EXAMPLES],
    )


def hash_of(facts: dict[str, str]) -> str:
    """Return the hash of facts."""
    return hashlib.sha256(msgspec.json.encode(facts, order="deterministic")).hexdigest()


def text(report: Report) -> str:
    """Return a report for people."""
    lines = [f"{name:<44} {value}" for name, value in sorted(report.facts.items())]
    lines += ["", f"cut-off {report.cut_off.isoformat()}, {report.under_way} messages under way", ""]
    for one in report.findings:
        lines.append(f"{'ok  ' if not one.violations else 'FAIL'} {one.name}" + (f": {one.violations}" if one.violations else ""))
        lines += [f"       {violation.key}  {violation.detail}" for violation in one.examples]
    verdict = "The books balance." if report.ok else f"{report.violations} violations."
    return "\n".join([*lines, "", f"{verdict} hash {report.hash}"])
