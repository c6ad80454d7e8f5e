"""A Deployment of a service changed: its pods came or went, or a hand scaled it."""

from typing import Any

import kopf

from careforall_operator.passes.reading import SERVICE_LABEL


@kopf.on.event("apps", "v1", "deployments", labels={SERVICE_LABEL: kopf.PRESENT})
async def deployment_changed(memo: Any, **_: Any) -> None:
    """Let everybody look."""
    memo.link.office.wake_all()
