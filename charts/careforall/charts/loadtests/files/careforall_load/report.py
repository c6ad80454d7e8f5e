"""What a run says in the end, whichever tool played it."""

import msgspec

from careforall_load.table import Profile, Table


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """One step's figures; milliseconds of the answers that counted."""

    requests: int
    failed: int
    p50: float
    p95: float
    p99: float


class Played(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool saw."""

    tool: str
    seconds: float
    visits: int
    dropped: int
    """Visits that were due and never began: the generator could not keep up, or answers were too slow for its callers."""
    steps: dict[str, Told]


class Crossed(msgspec.Struct, frozen=True, kw_only=True):
    """A limit that did not hold."""

    what: str
    limit: float
    found: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict."""

    profile: str
    run: str
    url: str
    played: Played
    promised: int
    lost: list[str]
    """Paths of what was acknowledged and could not be found afterwards."""
    crossed: list[Crossed]

    @property
    def good(self) -> bool:
        """Whether everything held."""
        return not self.crossed and not self.lost


def judge(table: Table, profile: Profile, played: Played) -> list[Crossed]:
    """Return the limits that did not hold."""
    found = [
        Crossed(what=f"{name} {word}", limit=getattr(limit, word), found=getattr(played.steps[name], word))
        for name, limit in table.limits(profile).items()
        for word in ("p95", "p99")
        if name in played.steps and getattr(played.steps[name], word) > getattr(limit, word)
    ]
    requests = sum(step.requests for step in played.steps.values())
    share = sum(step.failed for step in played.steps.values()) / max(1, requests)
    if share > profile.failures or not requests:
        found.append(Crossed(what="failed requests, share", limit=profile.failures, found=share if requests else 1.0))
    if played.dropped and profile.limits:
        found.append(Crossed(what="visits that never began", limit=0, found=played.dropped))
    return found


def rendered(report: Report) -> str:
    """Return the report as text."""
    played = report.played
    head = (
        f"{played.tool}, profile {report.profile}, run {report.run}: {played.visits:,} visits in {played.seconds:.0f} s, "
        f"{played.dropped:,} never began"
    )
    lines = [
        head,
        f"{'step':<24}{'requests':>10}{'failed':>8}{'p50 ms':>9}{'p95 ms':>9}{'p99 ms':>9}",
    ]
    lines += [
        f"{name:<24}{step.requests:>10,}{step.failed:>8,}{step.p50:>9.1f}{step.p95:>9.1f}{step.p99:>9.1f}"
        for name, step in played.steps.items()
    ]
    lines.append(f"promised {report.promised:,}, lost {len(report.lost):,}")
    lines += [f"  lost: {path}" for path in report.lost[:20]]
    lines += [f"  crossed: {one.what} is {one.found:,.4g}, limit {one.limit:,.4g}" for one in report.crossed]
    return "\n".join([*lines, "good" if report.good else "NOT good"])
