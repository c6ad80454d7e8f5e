"""A CronJob or Job of ours changed: a hand edited it, or a refresh ended."""

from typing import Any

import kopf

from careforall_operator.passes.services import MINE


@kopf.on.event("batch", "v1", "cronjobs", labels={MINE: kopf.PRESENT})
@kopf.on.event("batch", "v1", "jobs", labels={MINE: kopf.PRESENT})
async def work_changed(labels: kopf.Labels, memo: Any, **_: Any) -> None:
    """Let the Platform's worker look."""
    memo.link.office.wake(labels[MINE])
