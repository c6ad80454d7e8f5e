"""A DatabaseSwitchover came."""

from typing import Any

import kopf

from careforall_operator import GROUP


@kopf.on.event(GROUP, "v1alpha1", "databaseswitchovers")
async def switchover_changed(spec: kopf.Spec, memo: Any, **_: Any) -> None:
    """Let the worker of its Platform look."""
    memo.link.office.wake(spec["platformRef"]["name"])
