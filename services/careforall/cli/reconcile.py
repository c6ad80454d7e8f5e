"""``careforall reconcile``: compare payments with the gateways now, and tell what did not agree."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from careforall.cli.environment import service_variables
from careforall.cli.options import Instance, JsonFile
from careforall.cli.registry import definition, with_settings
from careforall.launch.errors import LaunchError

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"]
_LOOK_EVERY = 0.5


class CannotCompare(LaunchError):
    """Nothing was compared; the message says why."""

    exit_status = 3


class WrongOrder(LaunchError):
    """There is no such gateway or time."""

    exit_status = 2


def reconcile(
    gateway: Annotated[str | None, typer.Option(help="Only this gateway; all that can be asked if not given.")] = None,
    since: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Objects made since (UTC); a day ago.")] = None,
    until: Annotated[datetime | None, typer.Option(formats=_FORMATS, help="Objects made until (UTC); now.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what does not agree, and change nothing.")] = False,
    instance: Instance = "default",
    json_file: JsonFile = None,
) -> None:
    """Compare payments with the gateways: learn what we missed, and tell what a person must look at.

    It works beside live traffic; where a worker compares already, that one does the work. Exit status 1 when differences are left
    or a comparison stopped.
    """
    import msgspec  # noqa: PLC0415 - lazy: --help stays quick

    order = {"gateway": gateway, "since": _utc(since), "until": _utc(until), "dry_run": dry_run}
    found = asyncio.run(_reconcile(service_variables(instance), order))
    if json_file is not None:
        json_file.write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    for run in found["runs"]:
        print(_told(run))
    for finding in found["findings"]:
        print(_line(finding))
    if any(run["left"] or run["status"] != "FINISHED" for run in found["runs"]):
        raise typer.Exit(1)


async def _reconcile(variables: Mapping[str, str], order: Mapping[str, Any]) -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - lazy: --help stays quick

    from careforall.kit.errors import Problem, Unavailable  # noqa: PLC0415 - as above
    from careforall.kit.runtime import offline_parts  # noqa: PLC0415 - as above
    from careforall.payments.schemas_reconciliation import RunOrder, finding_out, run_out  # noqa: PLC0415 - as above
    from careforall.payments.service import PaymentsService  # noqa: PLC0415 - as above

    pairs = with_settings([definition("payments")], variables)
    async with offline_parts(*pairs[0]) as (parts, _):
        if not isinstance(parts.service, PaymentsService):
            raise TypeError("payments built another service than its own")
        reconciling = parts.service.reconciling
        try:
            made = await reconciling.order_now(RunOrder(**order), by="command line")
            reports = [await _ended(reconciling, run.id) for run in made]
        except Unavailable as error:
            raise CannotCompare(f"cannot compare: {error}") from error
        except Problem as error:
            raise WrongOrder(f"cannot compare: {error.detail or error.title}") from error
        findings = [one for run in made for one in await reconciling.all_findings(run.id)]
        shown = [run_out(report.run, report.counts) for report in reports]
        return {
            "runs": msgspec.to_builtins(shown),
            "findings": msgspec.to_builtins([finding_out(one) for one in findings]),
        }


async def _ended(reconciling: Any, run_id: Any) -> Any:
    """Work, or wait for the worker that does, until a run is over."""
    while True:
        await reconciling.work()
        report = await reconciling.report(run_id)
        if report.run.status in {"FINISHED", "STOPPED"}:
            return report
        await asyncio.sleep(_LOOK_EVERY)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None else None


def _told(run: Mapping[str, Any]) -> str:
    counts = ", ".join(f"{_bucket(one)} {one['objects']}" for one in run["counts"]) or "nothing to compare"
    reason = f" ({run['reason']})" if run["reason"] else ""
    dry = ", dry run" if run["dry_run"] else ""
    return f"{run['gateway']}: {run['status'].lower()}{reason}{dry}; {counts}; left: {run['left']}"


def _bucket(count: Mapping[str, Any]) -> str:
    words = [count["bucket"].replace("_", " ")]
    words += [count["action"]] if count["bucket"] != "matched" and count["action"] != "none" else []
    return " ".join([*words, count["currency"]]).strip()


def _line(finding: Mapping[str, Any]) -> str:
    words: Sequence[str] = (
        finding["bucket"],
        finding["gateway_object"],
        f"payment {finding['payment_id'] or 'unknown'}",
        f"ours: {finding['ours']}",
        f"theirs: {finding['theirs']}",
        finding["action"],
        finding["detail"],
    )
    return "  " + "; ".join(word for word in words if word)
