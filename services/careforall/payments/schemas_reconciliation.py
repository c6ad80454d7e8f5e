"""HTTP shapes of reconciliation."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from careforall.kit import money
from careforall.payments.comparing import Action, Bucket, Finding, Run, RunKind, RunStatus

Moment = Annotated[datetime, Meta(tz=True)]


class RunOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compare with a gateway, or with all that can be asked; without times the last day."""

    gateway: Annotated[str, Meta(pattern="^[a-z]{2,20}$")] | None = None
    since: Moment | None = None
    until: Moment | None = None
    dry_run: bool = False


class SwitchOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Stop the reconciler or let it go on."""

    on: bool


class SwitchOut(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the reconciler works; the setting `reconcile` can keep it off whatever staff turns."""

    on: bool


class CountOut(msgspec.Struct, frozen=True, kw_only=True):
    """How many objects fell into a bucket, and what was done about them."""

    bucket: Bucket
    action: Action
    currency: str
    objects: int
    amount: Annotated[str | None, Meta(description="Sum of what agreed, as a decimal string.")] = None


class RunOut(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison with one gateway; `left` counts the differences that wait for a person or, in a dry run, for a real one."""

    id: UUID
    gateway: str
    kind: RunKind
    since: datetime
    until: datetime
    reached: datetime
    dry_run: bool
    requested_by: str
    status: RunStatus
    reason: str
    calls: int
    left: int
    counts: list[CountOut]
    created_at: datetime | None
    started_at: datetime | None
    finished_at: datetime | None


class RunsOut(msgspec.Struct, frozen=True, kw_only=True):
    """Runs that were ordered."""

    items: list[RunOut]


class FindingOut(msgspec.Struct, frozen=True, kw_only=True):
    """A difference, both sides of it, and what was done."""

    id: UUID
    gateway: str
    bucket: Literal["ours_only", "theirs_only", "amount_differs"]
    gateway_object: str
    payment_id: UUID | None
    currency: str
    ours: str
    theirs: str
    action: Action
    detail: str
    created_at: datetime | None


def run_out(run: Run, counts: Sequence[Mapping[str, Any]]) -> RunOut:
    """Show a run with its counts."""
    shown = [_count_out(one) for one in counts]
    return RunOut(
        **{name: getattr(run, name) for name in Run.__struct_fields__},
        left=sum(one.objects for one in shown if one.bucket != "matched" and one.action in {"none", "alarmed"}),
        counts=shown,
    )


def finding_out(finding: Finding) -> FindingOut:
    """Show a finding."""
    return FindingOut(**{name: getattr(finding, name) for name in FindingOut.__struct_fields__})


def _count_out(row: Mapping[str, Any]) -> CountOut:
    amount = money.show(row["amount"], row["currency"]) if row["amount"] is not None else None
    return CountOut(bucket=row["bucket"], action=row["action"], currency=row["currency"], objects=row["objects"], amount=amount)
