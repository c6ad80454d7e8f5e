"""Keys derived from the one root secret, each for one purpose, so that none can be used for another."""

import hmac


def derive(root: str, purpose: str) -> bytes:
    """Return 32 bytes for `purpose` (HMAC-SHA256 of the purpose under the root secret)."""
    return hmac.digest(root.encode(), f"careforall/{purpose}".encode(), "sha256")


def sign(key: bytes, message: bytes) -> str:
    """Return the hexadecimal HMAC-SHA256 of `message`."""
    return hmac.digest(key, message, "sha256").hex()


def same(left: str, right: str) -> bool:
    """Compare two signatures in constant time, whatever characters they hold."""
    return hmac.compare_digest(left.encode(), right.encode())
