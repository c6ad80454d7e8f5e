"""The signature under the head of the chain: Ed25519 with a key derived from the root secret."""

from datetime import date

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from careforall.audit.domain import Link
from careforall.kit import secrets


class SignedHead(msgspec.Struct, frozen=True, kw_only=True):
    """The head of the chain on a day, with a signature and the key that checks it."""

    link: Link
    day: date
    signature: bytes
    public_key: bytes


class Signer:
    """Signs heads of the chain."""

    def __init__(self, secret_key: str) -> None:
        self._seed = secrets.derive(secret_key, "audit chain head")

    def sign(self, link: Link, day: date) -> SignedHead:
        """Sign a link as the head of a day."""
        key = Ed25519PrivateKey.from_private_bytes(self._seed)
        return SignedHead(
            link=link, day=day, signature=key.sign(statement(link, day)), public_key=key.public_key().public_bytes_raw()
        )


def statement(link: Link, day: date) -> bytes:
    """Return the bytes that are signed: a line any tool can build again."""
    return f"careforall audit head {day.isoformat()} {link.number} {link.hash.hex()}".encode()


def holds(head: SignedHead) -> bool:
    """Whether the signature under a head is that of its key."""
    try:
        Ed25519PublicKey.from_public_bytes(head.public_key).verify(head.signature, statement(head.link, head.day))
    except InvalidSignature:
        return False
    return True
