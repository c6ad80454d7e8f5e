"""Start, health and end of the process."""

import asyncio
import time
from pathlib import Path
from typing import Any

import kopf

from careforall_operator.k8s import Kube
from careforall_operator.office import Office

STUCK_SECONDS = 120.0
PREFIX = "operator.careforall.dev"


@kopf.on.startup()
async def begin(settings: kopf.OperatorSettings, memo: Any, **_: Any) -> None:
    """Set kopf up and wait for our kinds; the namespace is watched only after that."""
    settings.scanning.disabled = True
    settings.posting.enabled = False
    settings.persistence.finalizer = "careforall.dev/operator"
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage(prefix=PREFIX, v1=False)
    settings.persistence.diffbase_storage = kopf.AnnotationsDiffBaseStorage(prefix=PREFIX)
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 310
    settings.networking.request_timeout = 30
    folder = memo.settings.secrets_folder
    kube = Kube.connect(memo.settings.namespace, Path(folder) if folder else None)
    office = Office(kube, memo.settings, memo.give_up)
    memo.link.office = office
    memo.link.kube = kube
    await office.until_served()
    memo.link.looking = asyncio.create_task(office.look_around(), name="look around")


@kopf.on.cleanup()
async def end(memo: Any, **_: Any) -> None:
    """Send the workers home."""
    if memo.link.looking is not None:
        memo.link.looking.cancel()
    if memo.link.office is not None:
        await memo.link.office.close()
        await memo.link.kube.close()


@kopf.on.probe(id="seconds_since_pass")
async def since_pass(memo: Any, **_: Any) -> float:
    """Tell the age of the newest pass; a process that makes none is not alive."""
    age = time.monotonic() - memo.link.office.last_pass if memo.link.office is not None else 0.0
    if age > STUCK_SECONDS:
        raise TimeoutError(f"no pass for {age:.0f} s")
    return round(age, 1)
