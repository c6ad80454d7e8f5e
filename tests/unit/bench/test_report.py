"""What is stored can be read back, and the table shows every figure."""

import io
from pathlib import Path

import msgspec
from rich.console import Console

from careforall_bench.figures import Latency, Load
from careforall_bench.report import Baselines, Report, now, rate_of, show, store, this_machine

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
