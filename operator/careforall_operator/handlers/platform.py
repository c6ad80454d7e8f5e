"""A Platform came, changed or went."""

from typing import Any

import kopf

from careforall_operator import GROUP


@kopf.on.event(GROUP, "v1alpha1", "platforms")
async def platform_changed(name: str, memo: Any, **_: Any) -> None:
    """Let its worker look; one of a Platform that went finds that out."""
    memo.link.office.wake(name)
