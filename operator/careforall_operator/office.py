"""Keeps a worker for each Platform: woken by events and by the clock, begun anew after whatever failure."""

import asyncio
import contextlib
import time
from collections.abc import Callable

import structlog

from careforall_operator import metrics
from careforall_operator.k8s import FORBIDDEN, PLATFORM, SWITCHOVER, Kube, status_code
from careforall_operator.passes import switchovers
from careforall_operator.passes.platform import PlatformPass
from careforall_operator.reconcile.switchovers import Situation
from careforall_operator.settings import Settings

log = structlog.get_logger(__name__)

LOOK_EVERY = 30.0
ORPHAN_AFTER = 10.0
_LONGEST_PAUSE = 5.0


class Office:
    """All workers of one process."""

    def __init__(self, kube: Kube, settings: Settings, give_up: Callable[[], None]) -> None:
        self._kube = kube
        self._settings = settings
        self._give_up = give_up
        self._workers: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._forbidden_since: float | None = None
        self.last_pass = time.monotonic()

    async def until_served(self) -> None:
        """Wait until both kinds are served: kopf never notices a definition that comes after its start."""
        while True:
            try:
                for kind in (PLATFORM, SWITCHOVER):
                    await self._kube.all(kind)
            except Exception as error:  # noqa: BLE001 - an API server that is away is waited for as well
                self._judge(error)
                log.warning("waiting for the API to serve our kinds", error=str(error))
                await asyncio.sleep(1)
            else:
                self._forbidden_since = None
                return

    def wake(self, name: str) -> None:
        """Let the worker of a Platform look now; hire one if there is none."""
        if name not in self._workers or self._workers[name][0].done():
            event = asyncio.Event()
            self._workers[name] = (asyncio.create_task(self._work(name, event), name=f"platform {name}"), event)
        self._workers[name][1].set()

    def wake_all(self) -> None:
        """Let everybody look now."""
        for name in self._workers:
            self._workers[name][1].set()

    async def look_around(self) -> None:
        """Find Platforms that no event told of, and switchovers of Platforms that are not there, until cancelled."""
        while True:
            try:
                names = {one["metadata"]["name"] for one in await self._kube.all(PLATFORM)}
                for name in names - set(self._workers):
                    self.wake(name)
                for orphan in await switchovers.unfinished(self._kube):
                    if orphan.spec.platform_ref.name not in names:
                        await switchovers.follow(self._kube, orphan, Situation(database=None, status=None))
                self.last_pass = time.monotonic() if not names else self.last_pass
            except Exception as error:  # noqa: BLE001 - the next look heals
                self._judge(error)
                log.warning("could not look around", error=repr(error))
            await asyncio.sleep(LOOK_EVERY if self._workers else ORPHAN_AFTER)

    async def _work(self, name: str, event: asyncio.Event) -> None:
        keeper = PlatformPass(self._kube, self._settings, event.set)
        pause = 1.0
        try:
            while True:
                event.clear()
                begun = time.monotonic()
                try:
                    body = await self._kube.find(PLATFORM, name)
                    if body is None:
                        metrics.forget(name)
                        return
                    if not body["metadata"].get("deletionTimestamp"):
                        await keeper.run(body)
                    self._succeeded(name, time.monotonic() - begun)
                    pause = 1.0
                    rest = self._settings.database_seconds if body["spec"].get("database") else self._settings.resync_seconds
                except Exception as error:  # noqa: BLE001 - the next pass heals
                    self._failed(name, error)
                    rest = pause
                    pause = min(pause * 2, _LONGEST_PAUSE)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(rest - (time.monotonic() - begun), 0.05)):
                        await event.wait()
        finally:
            await keeper.close()
            self._workers.pop(name, None)

    def _succeeded(self, name: str, seconds: float) -> None:
        self.last_pass = time.monotonic()
        self._forbidden_since = None
        metrics.PASSES.labels(name, "done").inc()
        metrics.PASS_SECONDS.labels(name).observe(seconds)

    def _failed(self, name: str, error: Exception) -> None:
        metrics.PASSES.labels(name, "failed").inc()
        log.warning("pass failed", platform=name, error=repr(error))
        self._judge(error)

    def _judge(self, error: Exception) -> None:
        """Give up where the API server has refused us for long: a wrong Role must not look like health."""
        if status_code(error) != FORBIDDEN:
            return
        now = time.monotonic()
        self._forbidden_since = self._forbidden_since or now
        self.last_pass = now
        if now - self._forbidden_since >= self._settings.forbidden_seconds:
            log.error("the API server refuses what the Role should allow; ending", error=str(error))
            self._give_up()

    async def close(self) -> None:
        """Send everybody home."""
        tasks = [task for task, _ in self._workers.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
