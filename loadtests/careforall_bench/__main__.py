"""`python -m careforall_bench`, started by `careforall bench` inside a clone, which fills in where things are."""

import argparse
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from rich.console import Console

from careforall_bench.bench import NAMES, Bench
from careforall_bench.instance import Launched, PlatformError, servers_of
from careforall_bench.load import LoadError
from careforall_bench.one_each import PgbenchError
from careforall_bench.report import Report, show, store
from careforall_bench.scenarios import FULL, QUICK
from careforall_bench.seed_server import SeedError, missing_packages

FAILED, MISSING = 1, 3
WIDTH = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, store; 1 when a figure lies below its floor or a scenario failed, 3 when something is missing."""
    options = parse(arguments)
    end_in_order()
    if options.growth:
        return grow(options)
    absent = missing_packages()
    if absent or not options.pgbench.exists():
        what = f"packages {', '.join(absent)} (dependency group `baseline`)" if absent else f"pgbench at {options.pgbench}"
        print(f"careforall bench: missing: {what}", file=sys.stderr)
        return MISSING
    try:
        report = run(options)
    except (PlatformError, LoadError, SeedError, PgbenchError) as error:
        print(f"careforall bench: {error}", file=sys.stderr)
        return FAILED
    console = Console()
    show(report, console if console.is_terminal else Console(width=WIDTH))
    kept = options.store / f"bench-{report.started_at:%Y%m%dT%H%M%SZ}.json"
    store(report, kept, *([options.json] if options.json is not None else []))
    print(f"stored in {kept}")
    return good(report)


def run(options: argparse.Namespace) -> Report:
    """Measure what was asked for."""
    bench = Bench(
        pgbench=options.pgbench,
        chosen=options.only,
        sizes=QUICK if options.quick else FULL,
        quick=options.quick,
        tell=_tell,
    )
    if options.postgres is not None:
        return bench.on_server(options.postgres)
    launched = _launched(options)
    return bench.on_running(launched) if options.instance else bench.on_new(launched)


def grow(options: argparse.Namespace) -> int:
    """Measure whether the cost of an event grows with what is stored; 1 when it does."""
    from careforall_bench import growth  # noqa: PLC0415 - the services' own code, which only this measurement needs

    try:
        with servers_of(_launched(options)) as servers:
            found = growth.run(servers, full=options.full, quick=options.quick, tell=_tell)
    except PlatformError as error:
        print(f"careforall bench: {error}", file=sys.stderr)
        return FAILED
    for one in found.kinds:
        print(growth.line(one))
    kept = options.store / f"growth-{found.started_at:%Y%m%dT%H%M%SZ}.json"
    growth.store(found, kept, *([options.json] if options.json is not None else []))
    print(f"stored in {kept}")
    return 0 if all(one.flat for one in found.kinds) else FAILED


def good(report: Report) -> int:
    """The exit status: floors are judged only by a valid full run."""
    below = any(measure.verdict == "below" for measure in report.measures)
    failed = any("was not measured" in warning for warning in report.warnings)
    return FAILED if failed or (below and report.valid and not report.quick) else 0


def _launched(options: argparse.Namespace) -> Launched:
    name = options.instance or f"bench-{secrets.token_hex(2)}"
    return Launched(root=options.root, instance=name, folder=options.instances / name, mine=not options.instance)


def end_in_order() -> None:
    """Let SIGTERM lead out by the way that stops and forgets the platform that was started; told again, it goes on."""

    def leave(number: int, _: object) -> NoReturn:
        signal.signal(number, lambda *_: None)  # whoever ends a group of processes tells us, and so does our parent's end
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, leave)


def _tell(line: str) -> None:
    print(f"... {line}", file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Options of the module."""
    parser = argparse.ArgumentParser(prog="careforall bench", usage=argparse.SUPPRESS, description=__doc__)
    parser.add_argument("--root", type=Path, required=True, help="the clone")
    parser.add_argument("--instances", type=Path, required=True, help="folder of the clone's instances")
    parser.add_argument("--pgbench", type=Path, required=True, help="the benchmark client beside the PostgreSQL server")
    parser.add_argument("--store", type=Path, required=True, help="folder that keeps every report")
    parser.add_argument("--json", type=Path, help="write the report to this file too")
    parser.add_argument("--quick", action="store_true", help="one short run of everything")
    parser.add_argument("--only", action="append", default=[], choices=NAMES, help="measure this; may be repeated")
    parser.add_argument("--instance", help="measure this running instance instead of a new one")
    parser.add_argument("--growth", action="store_true", help="measure the cost of an event on small and large databases")
    parser.add_argument("--full", action="store_true", help="with --growth: 10 million gifts too")
    parser.add_argument("--postgres", help="measure the baselines alone, on this server")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
