"""The job by which audit verifies the books all the time: from watermark to watermark, each result a metric and a row."""

import time
from urllib.parse import urlsplit, urlunsplit

import msgspec
import structlog
from nats.errors import Error as NatsError

from careforall.audit import repository
from careforall.audit.settings import AuditSettings
from careforall.audit.verification.books import Platform
from careforall.audit.verification.report import Report
from careforall.audit.verification.run import START, Mark, verify
from careforall.audit.verification.subscriptions import of_broker
from careforall.contracts import streams
from careforall.kit.bus import Bus
from careforall.kit.db import Connection, Database
from careforall.kit.errors import Unavailable
from careforall.kit.ids import new_id

log = structlog.get_logger(__name__)

_STREAMS = tuple(stream for stream in streams.ALL if stream is not streams.ADVISORIES)
_MARK = "books"
_SHARE = 20
"""A run is followed by a pause of so many times its own length: verifying never takes more than a twentieth of the time."""


class Continuous:
    """Verifies what changed since the last run."""

    def __init__(self, database: Database, bus: Bus, settings: AuditSettings) -> None:
        self._database = database
        self._bus = bus
        self._settings = settings
        self._resting_until = 0.0

    async def run(self) -> bool:
        """Verify once, unless the last long run was a short while ago; return whether the books balance."""
        begun = time.monotonic()
        if begun < self._resting_until:
            return True
        try:
            return await self._once()
        finally:
            self._resting_until = time.monotonic() + _SHARE * (time.monotonic() - begun)

    async def _once(self) -> bool:
        try:
            platform = await self._platform()
        except (Unavailable, NatsError, TimeoutError):
            return True  # without the broker nobody can tell who hears whom; the next run looks at all of it
        report, mark = await verify(platform, mark=await self._mark(), slack=self._settings.verify_slack)
        await self._database.run(lambda connection: _keep(connection, report, mark))
        for finding in report.findings:
            if finding.violations:
                log.error("books do not balance", invariant=finding.name, violations=finding.violations)
        return report.ok

    async def _platform(self) -> Platform:
        services = {stream.name.lower(): stream for stream in _STREAMS}
        dsns = {name: self._dsn(name) for name in services}
        return Platform(
            dsns=dsns,
            streams={name: stream.name for name, stream in services.items()},
            subscriptions=await of_broker(self._bus, _STREAMS, services),
        )

    def _dsn(self, service: str) -> str:
        parts = urlsplit(self._settings.postgres_url)
        return urlunsplit(parts._replace(path=f"/careforall_{service}"))

    async def _mark(self) -> Mark:
        found = await repository.mark(self._database, _MARK)
        return msgspec.json.decode(found, type=Mark) if found else START


async def _keep(connection: Connection, report: Report, mark: Mark) -> None:
    await repository.keep_report(connection, new_id(), report.ok, report.hash, msgspec.json.encode(report).decode())
    await repository.set_mark(connection, _MARK, msgspec.json.encode(mark).decode())
