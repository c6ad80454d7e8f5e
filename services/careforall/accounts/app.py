"""Composition root of the accounts service."""

from typing import cast

from careforall.accounts import api, pages
from careforall.accounts.service import AccountsService
from careforall.accounts.settings import AccountsSettings
from careforall.contracts import streams
from careforall.contracts.addresses import ADDRESSES
from careforall.kit.jobs import Job
from careforall.kit.service import Definition, Parts, Resources


def build(resources: Resources) -> Parts:
    """Wire the service together."""
    settings = cast("AccountsSettings", resources.settings)
    service = AccountsService(resources.database, settings, limiter=resources.limiter, forget=resources.verifier.revoke)
    return Parts(
        service=service,
        routes=api.ROUTES,
        pages=(pages.router(),),
        queries={
            "query.accounts.jwks": service.answer_jwks,
            "query.accounts.api_key": service.answer_api_key,
            ADDRESSES: service.answer_addresses,
        },
        jobs=(
            Job(name="rotate signing keys", every=60, work=service.signing.rotate),
            Job(name="prune sessions", every=3600, work=service.prune),
        ),
        snapshot=service.people.snapshot,
        start=(service.prepare,),
        stop=(service.close,),
    )


SERVICE = Definition(name="accounts", package=__package__ or "", settings=AccountsSettings, build=build, stream=streams.ACCOUNTS)
