"""Use cases of endpoints: where integrators hear, of what, and by which secret they know that it is us.

A change, what is wanted from then on, and the note of it in the audit log are one transaction, under the lock by which events are
numbered. Secrets are derived and never stored, so a repeated request can be answered as the first time.
"""

import os
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from msgspec import UNSET

from careforall.kit import outbox, secrets
from careforall.kit.db import Connection, Database
from careforall.kit.errors import InvalidInput, VersionConflict
from careforall.kit.ids import new_id
from careforall.kit.operations import admin_action
from careforall.kit.outbound import ForbiddenTarget, NoAnswer, Outbound, UnknownHost
from careforall.kit.signatures import written
from careforall.kit.text import refuse_texts, text_error
from careforall.sync import repository_endpoints, repository_events, repository_webhooks
from careforall.sync.domain_webhooks import EVERYTHING, Endpoint, signing_key
from careforall.sync.errors import EndpointNotFound, TooManyEndpoints, TooManySecrets
from careforall.sync.publishing import refuse_types
from careforall.sync.schemas_webhooks import EndpointPatch, NewEndpoint, NewSecret

MOST = 50
_MOST_SECRETS = 5
_SALT = 32
_DESCRIPTION = 200
_BITE = 5000


class Endpoints:
    """What the API calls.

    Args:
        outbound: By whose rules addresses are looked at.
        secret_key: The platform's root secret.
    """

    def __init__(self, database: Database, outbound: Outbound, *, secret_key: str) -> None:
        self.database = database
        self.root = secrets.derive(secret_key, "webhook secrets")
        self._outbound = outbound

    async def check(self, new: NewEndpoint) -> None:
        """Look whether an endpoint may be made and its address called, before a transaction.

        Raises:
            InvalidInput: Naming the fields at fault.
        """
        checked_types(new.event_types)
        refuse_texts(text_error("/description", new.description, limit=_DESCRIPTION))
        await self._check_url(new.url)

    async def create(self, connection: Connection, new: NewEndpoint, actor: UUID) -> Endpoint:
        """Make an endpoint, which has been checked, with its first secret in the caller's transaction.

        Raises:
            TooManyEndpoints: Events are told to so many already.
        """
        types = checked_types(new.event_types)
        last = await repository_events.lock(connection)
        if len(await repository_endpoints.endpoints(connection, None, MOST)) >= MOST:
            raise TooManyEndpoints
        made = await repository_endpoints.insert(
            connection, new_id(), url=new.url, event_types=types, description=new.description
        )
        await repository_endpoints.add_secret(connection, made.id, os.urandom(_SALT))
        if not new.enabled:
            made = await repository_endpoints.update(
                connection, made, url=made.url, event_types=types, description=made.description, disabled="staff"
            )
        await repository_endpoints.want(connection, made.id, types if made.enabled else None, last)
        await _note(connection, "create", actor, made.id)
        return made

    async def change(self, endpoint_id: UUID, patch: EndpointPatch, version: int | None, actor: UUID) -> Endpoint:
        """Change what is given; `version` is the one the caller has read, if they said.

        What waits ends with being disabled, and is over before it is enabled again: from then on it hears of what happens, and a
        replay tells it what it has missed.

        Raises:
            InvalidInput: Naming the fields at fault.
            EndpointNotFound: There is none, or none any more.
            VersionConflict: Somebody else was faster.
        """
        given: dict[str, Any] = {
            name: value for name in ("url", "event_types", "description") if (value := getattr(patch, name)) is not UNSET
        }
        if "event_types" in given:
            given["event_types"] = checked_types(given["event_types"])
        refuse_texts(text_error("/description", given.get("description", ""), limit=_DESCRIPTION))
        if "url" in given:
            await self._check_url(given["url"])
        if patch.enabled is True:
            await self.end_waiting([endpoint_id])
        changed = await self.database.run(lambda connection: self._changed(connection, endpoint_id, given, patch, version, actor))
        if not changed.enabled:
            await self.end_waiting([endpoint_id])
        return changed

    async def delete(self, endpoint_id: UUID, version: int | None, actor: UUID) -> None:
        """Delete an endpoint; what waits for it ends.

        Raises:
            EndpointNotFound: There is none, or none any more.
            VersionConflict: Somebody else was faster.
        """

        async def work(connection: Connection) -> None:
            last = await repository_events.lock(connection)
            found = await self.present(connection, endpoint_id, version)
            await repository_endpoints.want(connection, found.id, None, last)
            await repository_endpoints.delete(connection, found.id)
            await _note(connection, "delete", actor, found.id)

        await self.database.run(work)
        await self.end_waiting([endpoint_id])

    async def rotate(self, connection: Connection, endpoint_id: UUID, wanted: NewSecret, actor: UUID) -> int:
        """Make a new secret in the caller's transaction and return its number; the old ones sign too for a while.

        Raises:
            EndpointNotFound: There is none, or none any more.
            TooManySecrets: So many sign already.
        """
        found = await self.present(connection, endpoint_id)
        await repository_endpoints.end_secrets(connection, found.id, wanted.old_seconds)
        if len(await repository_endpoints.secrets(connection, [found.id])) >= _MOST_SECRETS:
            raise TooManySecrets
        number = await repository_endpoints.add_secret(connection, found.id, os.urandom(_SALT))
        await repository_endpoints.forget_secrets(connection, found.id)
        await _note(connection, "rotate_secret", actor, found.id)
        return number

    async def secret(self, endpoint_id: UUID, number: int) -> str | None:
        """Return a secret as its owner is given it, or None where it is not the newest any more."""
        async with self.database.connection() as connection:
            newest = await repository_endpoints.secrets(connection, [endpoint_id])
        if not newest or newest[0].number != number:
            return None
        return written(signing_key(self.root, newest[0].salt))

    async def endpoint(self, endpoint_id: UUID) -> Endpoint:
        """Return an endpoint.

        Raises:
            EndpointNotFound: There is none, or none any more.
        """
        async with self.database.connection() as connection:
            found = await repository_endpoints.endpoint(connection, endpoint_id)
        if found is None:
            raise EndpointNotFound
        return found

    async def endpoints(self, before: UUID | None, limit: int) -> list[Endpoint]:
        """Return endpoints, newest first."""
        async with self.database.connection() as connection:
            return await repository_endpoints.endpoints(connection, before, limit)

    async def present(self, connection: Connection, endpoint_id: UUID, version: int | None = None) -> Endpoint:
        """Lock and return an endpoint.

        Raises:
            EndpointNotFound: There is none, or none any more.
            VersionConflict: Somebody else was faster.
        """
        found = await repository_endpoints.locked(connection, endpoint_id)
        if found is None:
            raise EndpointNotFound
        if version is not None and version != found.version:
            raise VersionConflict(found.version)
        return found

    async def gone(self, endpoint_id: UUID, version: int) -> None:
        """Disable an endpoint that wants to hear nothing any more, unless somebody has changed it meanwhile; what waits ends."""

        async def work(connection: Connection) -> bool:
            last = await repository_events.lock(connection)
            disabled = await repository_endpoints.disable_gone(connection, endpoint_id, version)
            if disabled:
                await repository_endpoints.want(connection, endpoint_id, None, last)
            return disabled

        if await self.database.run(work):
            await self.end_waiting([endpoint_id])

    async def end_waiting(self, endpoint_ids: Sequence[UUID] | None = None) -> int:
        """End what waits for endpoints that are disabled, in bites; return how many."""
        ended, last = 0, _BITE
        while last == _BITE:
            last = await self.database.run(lambda connection: repository_webhooks.end(connection, endpoint_ids, _BITE))
            ended += last
        return ended

    async def _check_url(self, url: str) -> None:
        try:
            await self._outbound.check(url)
        except ForbiddenTarget as error:
            raise InvalidInput.field("/url", "forbidden_url", str(error)) from None
        except (UnknownHost, NoAnswer) as error:
            raise InvalidInput.field("/url", "unknown_host", str(error)) from None

    async def _changed(
        self,
        connection: Connection,
        endpoint_id: UUID,
        given: dict[str, Any],
        patch: EndpointPatch,
        version: int | None,
        actor: UUID,
    ) -> Endpoint:
        last = await repository_events.lock(connection)
        found = await self.present(connection, endpoint_id, version)
        enabled = found.enabled if patch.enabled is UNSET else patch.enabled
        kept = {"url": found.url, "event_types": found.event_types, "description": found.description}
        changed = await repository_endpoints.update(connection, found, **(kept | given), disabled=None if enabled else "staff")
        if (changed.enabled, changed.event_types) != (found.enabled, found.event_types):
            await repository_endpoints.want(connection, found.id, changed.event_types if changed.enabled else None, last)
        await _note(connection, "change", actor, found.id)
        return changed


def checked_types(types: Sequence[str]) -> tuple[str, ...]:
    """Return the types as they are kept: each once, or `*` alone.

    Raises:
        InvalidInput: Naming each that no integrator hears of.
    """
    if EVERYTHING in types:
        return (EVERYTHING,)
    refuse_types(types, "/event_types")
    return tuple(sorted(set(types)))


async def _note(connection: Connection, action: str, actor: UUID, endpoint_id: UUID) -> None:
    await outbox.insert(connection, [admin_action("sync", f"webhook_endpoint.{action}", actor, str(endpoint_id))])
