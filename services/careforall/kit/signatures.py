"""Proof that a webhook comes from whom it claims: HMAC-SHA256 over the raw bytes, compared in constant time (rule 8).

Ours are signed as Standard Webhooks prescribes, by every live secret.

Each scheme accepts several live secrets, so that one can be replaced while the other still signs.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence

_TOLERANCE = 300
_PREFIX = b"sha256="
_SECRET_PREFIX = "whsec_"  # noqa: S105 - the prefix of such secrets, not one
_STANDARD = b"v1,"
_MAX_HEADER = 2048

Headers = Mapping[bytes, bytes]


class GenericScheme:
    """`X-Signature: sha256=<hex>` over the body, or the headers of Standard Webhooks.

    Args:
        secrets: Live secrets; the whole text is the key of X-Signature, Standard Webhooks decodes what follows `whsec_`.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._plain = [secret.encode() for secret in secrets]
        self._decoded = [decoded(secret) for secret in secrets]

    async def holds(self, headers: Headers, body: bytes, now: float) -> bool:
        """Whether the body was signed with a secret of ours."""
        given = headers.get(b"x-signature")
        if given is not None:
            return self._holds_plain(given, body)
        return self._holds_standard(headers, body, now)

    def _holds_plain(self, given: bytes, body: bytes) -> bool:
        if not given.startswith(_PREFIX):
            return False
        claimed = given[len(_PREFIX) :].lower()
        return _any([_hex(secret, body) for secret in self._plain], [claimed])

    def _holds_standard(self, headers: Headers, body: bytes, now: float) -> bool:
        identifier, at = headers.get(b"webhook-id"), headers.get(b"webhook-timestamp", b"")
        given = headers.get(b"webhook-signature", b"")
        if not identifier or not is_fresh(at, now) or len(given) > _MAX_HEADER:
            return False
        claimed = [part for part in given.split(b" ") if part.startswith(_STANDARD)]
        return _any(_standard(self._decoded, identifier, at, body), claimed)


class TimedScheme:
    """`<Name>-Signature: t=<seconds>,v1=<hex>[,v1=<hex>]` over "t.body", as Stripe signs.

    Args:
        header: The header's name in lower case.
        secrets: Live secrets.
    """

    def __init__(self, header: bytes, secrets: tuple[str, ...]) -> None:
        self._header = header
        self._secrets = [secret.encode() for secret in secrets]

    async def holds(self, headers: Headers, body: bytes, now: float) -> bool:
        """Whether the body was signed with a secret of ours, at most 300 s ago or ahead."""
        given = headers.get(self._header, b"")
        if len(given) > _MAX_HEADER:
            return False
        parts = [part.strip().partition(b"=") for part in given.split(b",")]
        times = [value for name, _, value in parts if name == b"t"]
        claimed = [value.lower() for name, _, value in parts if name == b"v1"]
        if len(times) != 1 or not claimed or not is_fresh(times[0], now):
            return False
        signed = b"%b.%b" % (times[0], body)
        return _any([_hex(secret, signed) for secret in self._secrets], claimed)


def standard_headers(secrets: Sequence[bytes], *, identifier: str, at: float, body: bytes) -> dict[str, str]:
    """Return the headers of Standard Webhooks with a signature by each secret; `at` is in seconds since the epoch."""
    moment = str(int(at))
    signatures = _standard(secrets, identifier.encode(), moment.encode(), body)
    return {
        "webhook-id": identifier,
        "webhook-timestamp": moment,
        "webhook-signature": b" ".join(signatures).decode(),
    }


def written(secret: bytes) -> str:
    """Return a secret as people are given it."""
    return _SECRET_PREFIX + base64.b64encode(secret).decode()


def _standard(secrets: Sequence[bytes], identifier: bytes, at: bytes, body: bytes) -> list[bytes]:
    signed = b"%b.%b.%b" % (identifier, at, body)
    return [_STANDARD + base64.b64encode(hmac.digest(secret, signed, hashlib.sha256)) for secret in secrets]


def _hex(secret: bytes, signed: bytes) -> bytes:
    return hmac.digest(secret, signed, hashlib.sha256).hex().encode()


def _any(ours: list[bytes], claimed: list[bytes]) -> bool:
    """Compare each with each, without stopping at the first match."""
    matches = [hmac.compare_digest(own, other) for own in ours for other in claimed]
    return any(matches)


def is_fresh(at: bytes, now: float) -> bool:
    """Whether a signed time is near enough, in either direction."""
    return at.isdigit() and len(at) <= 12 and abs(now - int(at)) <= _TOLERANCE  # noqa: PLR2004 - seconds have ten digits


def decoded(secret: str) -> bytes:
    """Return the key in a secret as Standard Webhooks writes it; what is not written so is the key itself."""
    text = secret.removeprefix(_SECRET_PREFIX)
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True) or secret.encode()
    except (binascii.Error, ValueError):
        return secret.encode()
