"""The result of a run, as a table for people and as JSON for scripts and for `docs/`.

JSON (`schema` 1)::

    {schema, started_at, quick, valid, warnings: [text],
     machine: {cores, python, system, postgres},
     measures: [{name, unit, value, runs: [value of each interleaved run],
                 p50, p90, p99, max    milliseconds, or null where latency was not the question
                 finished, refused     conversations that ended well; answers outside 2xx and broken conversations
                 statuses, errors      counts by HTTP status, by kind of failure
                 floor, aim, going     of this run: floors that hang on a baseline are worked out
                 verdict               "aim", "floor", "below" or ""
                 ratio_seed, ratio_one_each   value divided by the baseline's, for rates
                 note, bounded_by}]}   what was done exactly; what bounds the figure, filled in by hand
"""

import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from careforall_bench.figures import Load, middle, middle_rate
from careforall_bench.targets import FLOORS_ONE_EACH, ONE_EACH, plain, verdict

SCHEMA = 1
STYLES = {"aim": "green", "floor": "yellow", "below": "red"}
WHOLE_FROM = 100


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure with everything needed to doubt it."""

    name: str
    unit: str
    value: float
    runs: list[float] = []
    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    max: float | None = None
    finished: int = 0
    refused: int = 0
    statuses: dict[str, int] = {}
    errors: dict[str, int] = {}
    floor: float | None = None
    aim: float | None = None
    going: float | None = None
    verdict: str = ""
    ratio_seed: float | None = None
    ratio_one_each: float | None = None
    note: str = ""
    bounded_by: str = ""


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where the figures come from; compare figures of one machine and one run only."""

    cores: int
    python: str
    system: str
    postgres: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All figures of one run."""

    started_at: datetime
    quick: bool
    valid: bool
    warnings: list[str]
    machine: Machine
    measures: list[Measure]
    schema: int = SCHEMA

    @property
    def speed(self) -> float | None:
        """How fast this machine is beside the one whose rates the floors are, by single transactions of this run."""
        found = [measure.value for measure in self.measures if measure.name == ONE_EACH]
        return found[0] / FLOORS_ONE_EACH if found else None


class Baselines(msgspec.Struct, frozen=True, kw_only=True):
    """Rates of the baselines measured in this run, by what they are compared with."""

    one_each: float | None = None
    donations: float | None = None
    webhooks_new: float | None = None
    webhooks_duplicate: float | None = None
    totals: float | None = None
    reservations: float | None = None
    """One transaction each on one hot SKU."""
    checkouts: float | None = None
    """One transaction each, a whole checkout."""


def this_machine(postgres: str) -> Machine:
    """Describe the machine."""
    return Machine(cores=os.cpu_count() or 1, python=platform.python_version(), system=platform.platform(), postgres=postgres)


def figure(
    name: str, value: float, *, unit: str = "", baselines: Baselines | None = None, seed: float | None = None, note: str = ""
) -> Measure:
    """A figure beside its floor and aim; `seed` is the matching baseline's rate."""
    target = plain(name, unit)
    one_each = baselines.one_each if baselines is not None else None
    floor = target.floor_in(seed=seed, one_each=one_each)
    return Measure(
        name=name,
        unit=target.unit,
        value=value,
        floor=floor,
        aim=target.aim,
        going=target.going,
        verdict=verdict(target, value, floor=floor),
        ratio_seed=_ratio(value, seed),
        ratio_one_each=_ratio(value, one_each) if seed is not None else None,
        note=note,
    )


def rate_of(
    name: str, loads: list[Load], *, baselines: Baselines | None = None, seed: float | None = None, note: str = ""
) -> Measure:
    """The rate of interleaved runs of one load: their median, with the latency of the run in the middle."""
    rates = [load.rate for load in loads]
    measure = figure(name, middle_rate(rates), unit="/s", baselines=baselines, seed=seed, note=note)
    return with_load(msgspec.structs.replace(measure, runs=rates), middle(loads))


def with_load(measure: Measure, load: Load) -> Measure:
    """Add latency, counts and failures of a load."""
    latency = load.latency
    return msgspec.structs.replace(
        measure,
        p50=latency and latency.p50,
        p90=latency and latency.p90,
        p99=latency and latency.p99,
        max=latency and latency.max,
        finished=load.finished,
        refused=load.refused,
        statuses={str(status): count for status, count in sorted(load.statuses.items())},
        errors=load.errors,
    )


def now() -> datetime:
    """The time a run began."""
    return datetime.now(UTC)


def store(report: Report, *files: Path) -> None:
    """Write the report to each file."""
    text = msgspec.json.format(msgspec.json.encode(report), indent=2)
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text + b"\n")


def show(report: Report, console: Console) -> None:
    """Print the table and what is wrong with the run."""
    console.print(_table(report))
    for measure in report.measures:
        if measure.note:
            console.print(f"  {measure.name}: {measure.note}", style="dim")
    if report.speed is not None:
        console.print(
            f"  floor here: a rate's floor times {report.speed:.2f}, this machine's share of single transactions", style="dim"
        )
    for warning in report.warnings:
        console.print(f"warning: {warning}", style="bold yellow")


def _table(report: Report) -> Table:
    machine = report.machine
    title = f"{machine.cores} cores, {machine.postgres}, Python {machine.python}"
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1))
    table.add_column("path", no_wrap=True)
    for column in ("measured", "p50 / p99 ms", "refused", "x seed", "x one each", "floor", "floor here", "aim"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("reached", no_wrap=True)
    for measure in report.measures:
        table.add_row(*_cells(measure, report.speed), style=STYLES.get(measure.verdict))
    return table


def _cells(measure: Measure, speed: float | None) -> list[str]:
    return [
        measure.name,
        f"{_number(measure.value)} {measure.unit}",
        f"{_number(measure.p50)} / {_number(measure.p99)}" if measure.p50 is not None else "",
        f"{measure.refused:,}" if measure.finished else "",
        _number(measure.ratio_seed),
        _number(measure.ratio_one_each),
        _number(measure.floor),
        _number(_here(measure, speed)),
        _number(measure.aim),
        measure.verdict,
    ]


def _here(measure: Measure, speed: float | None) -> float | None:
    """Return what a rate's floor means on this machine; nothing where it hangs on this run's own baselines anyway."""
    floor = plain(measure.name, measure.unit).floor
    return floor * speed if floor is not None and speed is not None and measure.unit == "/s" else None


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= WHOLE_FROM else f"{value:,.2f}"


def _ratio(value: float, baseline: float | None) -> float | None:
    return value / baseline if baseline else None
