"""What answers say to browsers of other sites. Preflights are the framework's; answers are also made in front of it."""

from collections.abc import Sequence

ANYWHERE = "*"
_READABLE = (
    *("ETag", "Idempotent-Replayed", "Location", "RateLimit", "RateLimit-Policy"),
    *("Retry-After", "Warning", "X-Cart-Id", "X-Request-Id"),
)
_EXPOSED = (b"access-control-expose-headers", ", ".join(_READABLE).encode())
_VARIES = (b"vary", b"Origin")

Fields = tuple[tuple[bytes, bytes], ...]


def origins_in(setting: str) -> tuple[str, ...]:
    """Return the origins that a setting lists, separated by commas."""
    return tuple(origin for part in setting.split(",") if (origin := part.strip()))


def shared_with(origin: bytes | None, allowed: Sequence[str]) -> Fields:
    """Return the headers that let a page of an origin read an answer, where it may."""
    if not allowed:
        return ()
    if ANYWHERE in allowed:
        return ((b"access-control-allow-origin", b"*"), _EXPOSED)
    if origin is None or origin.decode("latin-1") not in allowed:
        return (_VARIES,)
    return (_VARIES, (b"access-control-allow-origin", origin), _EXPOSED)
