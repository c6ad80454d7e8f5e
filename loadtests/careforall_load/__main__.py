"""`python -m careforall_load`: plays one profile of the table and says whether everything held (exit status 0 or 1)."""

import argparse
import os
import secrets
import sys
from pathlib import Path

import msgspec

from careforall_load import runner
from careforall_load.report import Report, rendered
from careforall_load.table import Profile, Table, read
from careforall_load.workplace import Order

FAILED, WRONG, MISSING = 1, 2, 3


def main() -> int:
    """Return the exit status."""
    table = read()
    given = _arguments(table)
    profile = _shortened(table.profiles[given.profile], given.seconds)
    order = Order(
        table=table.only(given.only or list(table.scenarios)),
        profile=profile,
        url=given.url.rstrip("/"),
        headers=dict(header.split(": ", 1) for header in given.header),
        secret=os.environ.get("CAREFORALL_LOAD_WEBHOOK_SECRET", ""),
        run=given.run or secrets.token_hex(4),
        scenarios=given.only or list(table.scenarios),
    )
    try:
        report = runner.play(order, profile=given.profile, tool=given.tool, patience=given.patience, k6=given.k6)
    except runner.ToolMissing as error:
        sys.stderr.write(f"{error}\n")
        return MISSING
    except runner.ToolFailed as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    _tell(report, given.json)
    return 0 if report.good else FAILED


def _arguments(table: Table) -> argparse.Namespace:
    about = "\n".join(f"  {name:<10}{profile.about} ({profile.seconds:.0f} s)" for name, profile in table.profiles.items())
    parser = argparse.ArgumentParser(
        prog="careforall load",
        description="Play the scenarios of loadtests/scenarios.yaml. CAREFORALL_LOAD_WEBHOOK_SECRET holds the secret of the "
        f"generic webhook.\n\nprofiles:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tool", choices=runner.TOOLS, default="k6", help="who sends the requests (k6)")
    parser.add_argument("--profile", choices=list(table.profiles), default="smoke", help="how much for how long (smoke)")
    parser.add_argument("--url", required=True, help="where the platform is, such as http://127.0.0.1:8000")
    parser.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent with every request")
    parser.add_argument("--only", action="append", choices=list(table.scenarios), help="play this scenario alone (repeatable)")
    parser.add_argument("--seconds", type=float, help="squeeze the profile into so many seconds")
    parser.add_argument("--patience", type=float, default=30, help="seconds that what was promised may take to be found (30)")
    parser.add_argument("--run", help="name of the run; the same name sends the same idempotency keys")
    parser.add_argument("--k6", help="path of the k6 program, version 2 (PATH)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there too")
    return parser.parse_args()


def _shortened(profile: Profile, seconds: float | None) -> Profile:
    if seconds is None:
        return profile
    share = seconds / profile.seconds
    stages = [msgspec.structs.replace(stage, seconds=stage.seconds * share) for stage in profile.stages]
    return msgspec.structs.replace(profile, stages=stages)


def _tell(report: Report, file: Path | None) -> None:
    print(rendered(report))
    if file is not None:
        file.write_bytes(msgspec.json.format(msgspec.json.encode(report)))


if __name__ == "__main__":
    raise SystemExit(main())
