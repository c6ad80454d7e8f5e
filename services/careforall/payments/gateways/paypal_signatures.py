"""Proof that a webhook comes from PayPal: RSA-SHA256 over "id|time|webhook id|CRC-32 of the raw body", by PayPal's certificate.

The certificate's address arrives in a header, so it is believed only as far as `paypal_certificates` allows.
"""

import base64
import binascii
import zlib
from collections.abc import Mapping
from datetime import datetime

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

from careforall.payments.gateways.paypal_certificates import Certificates

_TOLERANCE = 300
_MAX_HEADER = 2048
_ALGORITHM = "SHA256WITHRSA"


class _Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What the headers claim."""

    id: str
    time: str
    certificate_url: str
    signature: bytes


class PayPalScheme:
    """PayPal's own headers.

    Args:
        webhook_ids: Ids of the registered webhooks that are live; they are part of what is signed.
        certificates: Where its certificates come from.
    """

    def __init__(self, webhook_ids: tuple[str, ...], certificates: Certificates) -> None:
        self._webhook_ids = webhook_ids
        self._certificates = certificates

    async def holds(self, headers: Mapping[bytes, bytes], body: bytes, now: float) -> bool:
        """Whether PayPal signed the body for a webhook of ours, at most 300 s ago or ahead."""
        sent = _sent(headers)
        if sent is None or not _fresh(sent.time, now):
            return False
        key = await self._certificates.key(sent.certificate_url, now)
        if key is None:
            return False
        mark = zlib.crc32(body)
        signed = [f"{sent.id}|{sent.time}|{webhook_id}|{mark}".encode() for webhook_id in self._webhook_ids]
        return any(_verifies(key, sent.signature, text) for text in signed)


def _sent(headers: Mapping[bytes, bytes]) -> _Sent | None:
    """Read the headers, or return None where one is missing or strange."""
    given = {name: headers.get(b"paypal-" + name, b"") for name in _HEADERS}
    if not all(value and value.isascii() and len(value) <= _MAX_HEADER for value in given.values()):
        return None
    if given[b"auth-algo"].decode().upper() != _ALGORITHM or b"|" in given[b"transmission-id"]:
        return None
    try:
        signature = base64.b64decode(given[b"transmission-sig"], validate=True)
    except binascii.Error:
        return None
    return _Sent(
        id=given[b"transmission-id"].decode(),
        time=given[b"transmission-time"].decode(),
        certificate_url=given[b"cert-url"].decode(),
        signature=signature,
    )


_HEADERS = (b"transmission-id", b"transmission-time", b"transmission-sig", b"cert-url", b"auth-algo")


def _fresh(text: str, now: float) -> bool:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return False
    return at.tzinfo is not None and abs(now - at.timestamp()) <= _TOLERANCE


def _verifies(key: RSAPublicKey, signature: bytes, signed: bytes) -> bool:
    try:
        key.verify(signature, signed, PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True
