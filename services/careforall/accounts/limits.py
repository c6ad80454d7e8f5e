"""How often somebody may try: by account, so that many machines cannot guess one password, and by address.

Counting goes on in this process while Redis is away, so there is no moment without a limit; should counting itself fail, the
request is refused.
"""

import hashlib

from careforall.kit.http.limits import Limit, Limiter, network_of


class CredentialLimits:
    """The limits of the routes that take passwords and mails from anybody.

    Args:
        limiter: Counts hits.
        rate: Tries a minute for one account, and from one address.
    """

    def __init__(self, limiter: Limiter, rate: int) -> None:
        self._limiter = limiter
        self._account = Limit("login_account", rate)
        self._address = Limit("login_address", rate)
        self._newcomers = Limit("signup_address", rate * 2)

    async def hit(self, mail: str, client: str) -> None:
        """Count a try for an account.

        Raises:
            TooManyRequests: Either limit is used up.
        """
        await self._limiter.hit(self._address, network_of(client))
        await self._limiter.hit(self._account, hashlib.sha256(mail.encode()).hexdigest())

    async def newcomer(self, client: str) -> None:
        """Count a sign-up or the use of a mailed link.

        Raises:
            TooManyRequests: Too many from this address.
        """
        await self._limiter.hit(self._newcomers, network_of(client))
