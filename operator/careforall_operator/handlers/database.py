"""A pod of the database changed its role or its health; between such events the worker's heartbeat looks each second."""

from typing import Any

import kopf

from careforall_operator.reconcile.labels import SCOPE_LABEL


@kopf.on.event("", "v1", "pods", labels={SCOPE_LABEL: kopf.PRESENT})
async def member_changed(memo: Any, **_: Any) -> None:
    """Let everybody look."""
    memo.link.office.wake_all()
