"""What is stored can be read back, and the table shows every figure."""

import io
from pathlib import Path

import msgspec
from rich.console import Console

from careforall_bench.figures import Latency, Load
from careforall_bench.report import Baselines, Report, figure, now, rate_of, show, store, this_machine
from careforall_bench.targets import FLOORS_ONE_EACH, ONE_EACH

LOAD = Load(
    started=3,
    finished=3,
    seconds=1,
    rate=21_000,
    latency=Latency(p50=1, p90=2, p95=2, p99=3, max=4),
    statuses={201: 2, 503: 1},
    errors={},
    tallies={},
    client_microseconds=12,
)


def report() -> Report:
    measure = rate_of("donations accepted", [LOAD], baselines=Baselines(one_each=8000, donations=400), seed=400)
    return Report(
        started_at=now(), quick=True, valid=True, warnings=["a word"], machine=this_machine("PostgreSQL 18.6"), measures=[measure]
    )


def test_reports_survive_being_stored(tmp_path: Path) -> None:
    files = [tmp_path / "kept" / "one.json", tmp_path / "two.json"]
    written = report()
    store(written, *files)
    assert [msgspec.json.decode(file.read_bytes(), type=Report) for file in files] == [written, written]


def test_the_table_shows_figure_ratios_floor_and_warnings() -> None:
    out = io.StringIO()
    show(report(), Console(file=out, width=130))
    text = out.getvalue()
    for piece in ("donations accepted", "21,000 /s", "52.50", "2.62", "8,000", "12,000", "aim", "warning: a word"):
        assert piece in text


def test_a_rate_s_floor_is_told_for_a_machine_of_this_speed_too() -> None:
    measures = [figure(ONE_EACH, FLOORS_ONE_EACH / 2, unit="/s"), figure("webhooks new", 3_000, unit="/s"), figure("memory", 400)]
    found = msgspec.structs.replace(report(), measures=measures)
    out = io.StringIO()
    show(found, Console(file=out, width=130))
    assert found.speed == 0.5
    [webhooks] = [line for line in out.getvalue().splitlines() if "webhooks new" in line]
    assert webhooks.split()[-4:] == ["5,000", "2,500", "10,000", "below"]
    [memory] = [line for line in out.getvalue().splitlines() if "memory" in line]
    assert memory.split()[-3:] == ["900", "500", "aim"]
