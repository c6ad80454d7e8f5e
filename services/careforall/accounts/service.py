"""The use cases of accounts, one group each; what handlers, queries, jobs and the command line call."""

import contextlib

import msgspec

from careforall.accounts import repository_keys
from careforall.accounts.limits import CredentialLimits
from careforall.accounts.passwords import Passwords
from careforall.accounts.people import Forget, People
from careforall.accounts.registration import Registration
from careforall.accounts.sessions import Sessions
from careforall.accounts.settings import AccountsSettings
from careforall.accounts.signing import Signing
from careforall.accounts.staff import Staff
from careforall.contracts.addresses import AddressesAsked
from careforall.contracts.donor import DonorKeys
from careforall.kit.db import Database
from careforall.kit.errors import Unavailable
from careforall.kit.http.identity import KeyDocument
from careforall.kit.http.limits import Limiter


class AccountsService:
    """Everything accounts can do.

    Args:
        database: The service's own.
        settings: Life times and the root secret.
        limiter: Counts tries at passwords.
        forget: Ends a user's access tokens in this process.
    """

    def __init__(self, database: Database, settings: AccountsSettings, *, limiter: Limiter, forget: Forget) -> None:
        limits = CredentialLimits(limiter, settings.rate_login)
        self.database = database
        self._passwords = Passwords(workers=settings.password_workers, queue=settings.password_queue)
        self.signing = Signing(database, settings)
        self.sessions = Sessions(database, settings, passwords=self._passwords, signing=self.signing, limits=limits)
        self.registration = Registration(database, settings, passwords=self._passwords, limits=limits, forget=forget)
        self.people = People(database, DonorKeys(settings.secret_key), forget=forget)
        self.staff = Staff(database, passwords=self._passwords, forget=forget)

    async def create_admin(self, email: str, password: str | None = None) -> tuple[str, str]:
        """Make an administrator and return mail and password, to be shown once (see `Staff.create_admin`)."""
        return await self.staff.create_admin(email, password)

    async def has_admin(self) -> bool:
        """Tell whether anybody administers the platform (see `Staff.has_admin`)."""
        return await self.staff.has_admin()

    async def prepare(self) -> None:
        """Do what the first request would otherwise wait for; a database that is away is met later."""
        await self._passwords.prepare()
        with contextlib.suppress(Unavailable):
            await self.signing.rotate()

    async def close(self) -> None:
        """Let the password threads end."""
        await self._passwords.close()

    async def prune(self) -> None:
        """Forget sessions and links that ended long ago."""
        await self.database.run(repository_keys.prune)

    async def answer_jwks(self, _: bytes) -> bytes:
        """Answer `query.accounts.jwks`: the signing keys, and whose tokens ended while they might still live."""
        published = msgspec.json.decode(await self.signing.jwks(), type=KeyDocument)
        return msgspec.json.encode(KeyDocument(keys=published.keys, ended=await self.signing.ended()))

    async def answer_addresses(self, payload: bytes) -> bytes:
        """Answer `query.accounts.addresses`: those of the asked ones that are the user's own, with the user's mail."""
        asked = msgspec.json.decode(payload, type=AddressesAsked)
        return msgspec.json.encode(await self.people.addresses_for(asked.user_id, asked.address_ids))

    async def answer_api_key(self, payload: bytes) -> bytes:
        """Answer `query.accounts.api_key`: the key's principal or null."""
        return msgspec.json.encode(await self.staff.key_owner(payload.decode("utf-8", "replace")))
