"""How often somebody may try: by account, so that many machines cannot guess one password, and by address.

Counting goes on in this process while Redis is away, so there is no moment without a limit; should counting itself fail, the
request is refused.
"""

import hashlib

from careforall.kit.http.limits import Limit, Limiter, network_of


class CredentialLimits:
    """The limits of the routes that take passwords and mails from anybody.

    Each purpose counts for itself: whoever tries passwords on somebody's mail must not keep them from asking for a new one, and
    whoever asks for links to it must not keep them from signing in.

    Args:
        limiter: Counts hits.
        rate: Tries a minute for one account, and from one address.
    """

    def __init__(self, limiter: Limiter, rate: int) -> None:
        self._limiter = limiter
        self._logins = _Pair("login", rate)
        self._resets = _Pair("reset", rate)
        self._proofs = _Pair("verification", rate)
        self._newcomers = Limit("signup_address", rate * 2)

    async def login(self, mail: str, client: str) -> None:
        """Count a try at the password of an account.

        Raises:
            TooManyRequests: Either limit is used up.
        """
        await self._hit(self._logins, mail, client)

    async def reset(self, mail: str, client: str) -> None:
        """Count a wish for a link that sets a new password.

        Raises:
            TooManyRequests: Either limit is used up.
        """
        await self._hit(self._resets, mail, client)

    async def verification(self, mail: str, client: str) -> None:
        """Count a wish for a link that proves a mail.

        Raises:
            TooManyRequests: Either limit is used up.
        """
        await self._hit(self._proofs, mail, client)

    async def newcomer(self, client: str) -> None:
        """Count a sign-up, or a mailed link that is opened or used.

        Raises:
            TooManyRequests: Too many from this address.
        """
        await self._limiter.hit(self._newcomers, network_of(client))

    async def _hit(self, pair: "_Pair", mail: str, client: str) -> None:
        await self._limiter.hit(pair.address, network_of(client))
        await self._limiter.hit(pair.account, hashlib.sha256(mail.encode()).hexdigest())


class _Pair:
    """The limits of one purpose."""

    def __init__(self, purpose: str, rate: int) -> None:
        self.account = Limit(f"{purpose}_account", rate)
        self.address = Limit(f"{purpose}_address", rate)
