"""Composition root of the audit service."""

from typing import cast

from careforall.audit import api
from careforall.audit.consumers import consumers
from careforall.audit.service import AuditService
from careforall.audit.settings import AuditSettings
from careforall.audit.verification.continuous import Continuous
from careforall.contracts import streams
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources

EXPORT_EVERY, ERASE_EVERY = 3600.0, 60.0


def build(resources: Resources) -> Parts:
    """Build the service out of its resources."""
    settings = cast("AuditSettings", resources.settings)
    service = AuditService(resources.database, secret_key=settings.secret_key)
    return Parts(
        service=service,
        routes=api.ROUTES,
        consumers=consumers(service),
        jobs=(
            Job(name="audit-export-head", every=EXPORT_EVERY, work=service.export),
            Job(name="audit-erase", every=ERASE_EVERY, work=service.erase),
            *_verifying(resources, settings),
        ),
    )


def _verifying(resources: Resources, settings: AuditSettings) -> tuple[Job, ...]:
    """Verify the books all the time, unless that is left to the command line."""
    if not settings.verify_every:
        return ()
    continuous = Continuous(resources.database, resources.bus, settings)
    return (Job(name="audit-verify", every=settings.verify_every, work=continuous.run),)


SERVICE = Definition(name="audit", package="careforall.audit", settings=AuditSettings, build=build, stream=streams.AUDIT)
