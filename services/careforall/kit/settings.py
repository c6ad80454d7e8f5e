"""Settings every service shares; read once from the environment by the command line and passed down."""

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit, urlunsplit

import msgspec

AtLeastOne = Annotated[int, msgspec.Meta(ge=1)]
"""A number without which nothing would ever happen."""


class RateLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Requests per minute; a demo instance raises them, nothing switches them off."""

    everyone: int = 10_000
    per_address: int = 100
    per_key: int = 1_000
    login: int = 10


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What each service needs to know; a service adds fields of its own in its `settings.py`."""

    postgres_url: str
    """Server with one database per service, unless `database_url` names one for this service."""
    database_url: str = ""
    """The service's own database, as CAREFORALL_<SERVICE>_DATABASE_URL."""
    nats_url: str = "nats://127.0.0.1:4222"
    """The broker, with user and password where it asks for them."""
    redis_url: str = "redis://127.0.0.1:6379/0"
    """Valkey or Redis for caches and limits; rediss:// speaks TLS."""
    environment: Literal["development", "production"] = "production"
    instance: str = "default"
    """Name of the platform: keys in Redis begin with it."""
    secret_key: str
    """Root secret of at least 32 characters, kept for ever: another one ends receipt tokens, makes every donor a new one, so
    that history and erasure miss older gifts, and nobody can sign in (503).
    Service tokens and secrets of webhooks come from it too."""
    public_url: str = "http://127.0.0.1:8000"
    """Where people reach the platform; goes into links of mails and pages."""
    internal_url: str = "http://127.0.0.1:8001"
    """The listener of internal routes; never routed from outside."""
    accounts_url: str = ""
    """Where the signing keys are read while the broker is away; empty means `public_url`."""
    log_level: str = "info"
    """debug, info, warning, error or critical."""
    otlp_url: str = ""
    """OTLP/HTTP endpoint for traces; empty keeps them in memory only."""
    traces_per_second: float = 10.0
    """Requests without a sampled `traceparent` of their own that are traced all the same."""
    courtesy_seconds: float = 0.0
    """How old messages may become in a rush that needs all the cores; `up` sets it, where everything shares one machine."""
    drain_seconds: float = 0.5
    """How long a process that was told to stop goes on answering while it is not ready, so that balancers turn away first."""
    pool_size: AtLeastOne = 8
    """Connections of one process to each service's database at most."""
    rate_everyone: AtLeastOne = 10_000
    """Requests a minute of all callers together."""
    rate_per_address: AtLeastOne = 100
    """Requests a minute of one address."""
    rate_per_key: AtLeastOne = 1_000
    """Requests a minute with one API key."""
    rate_login: AtLeastOne = 10
    """Tries a minute to sign in, and to ask for a link, for one account and from one address."""
    trusted_proxies: int = 0
    """How many proxy hops in front append to X-Forwarded-For; 0 believes the socket."""
    cors_origins: str = ""
    """Comma-separated origins that browsers may call from, such as https://www.example.org; * is all of them."""
    accept_old_broker: bool = False
    """Start with a NATS server older than 2.12, which drops fields silently."""
    stream_replicas: AtLeastOne = 1
    """Copies the broker keeps of each stream: 3 where it has three servers, so that losing one loses nothing."""
    stream_max_bytes: AtLeastOne = 4 * 1024**3
    """Room the broker sets aside for each stream; all of them together must fit into its storage."""
    hot_paths: bool = True
    """Serve the busiest routes by thin handlers in front of the framework; same answers either way."""

    def __post_init__(self) -> None:
        """Refuse secrets nobody may rely on, and what only fails later, at a mail or a donor."""
        if len(self.secret_key) < 32:  # noqa: PLR2004 - stated in the message
            raise ValueError("secret_key must have at least 32 characters")
        if self.log_level.upper() not in logging.getLevelNamesMapping():
            raise ValueError(f"log_level is {self.log_level}: choose debug, info, warning, error or critical")
        for field, schemes in _ADDRESSES.items():
            address = getattr(self, field)
            if address and not _leads_somewhere(address, schemes):
                raise ValueError(f"{field} must be an address that begins with {' or '.join(f'{one}://' for one in schemes)}")
            if schemes is _HTTP:
                msgspec.structs.force_setattr(self, field, address.rstrip("/"))
        for origin in split(self.cors_origins):
            if origin != "*" and not (_leads_somewhere(origin, _HTTP) and not urlsplit(origin).path):
                raise ValueError(f"cors_origins names {origin}, which is no origin such as https://www.example.org")

    def dsn(self, service: str) -> str:
        """Return the DSN of one service's database."""
        if self.database_url:
            return self.database_url
        parts = urlsplit(self.postgres_url)
        return urlunsplit(parts._replace(path=f"/careforall_{service}"))

    @property
    def limits(self) -> RateLimits:
        """The rate limits as one value."""
        return RateLimits(
            everyone=self.rate_everyone,
            per_address=self.rate_per_address,
            per_key=self.rate_per_key,
            login=self.rate_login,
        )


_HTTP = ("https", "http")
_POSTGRES = ("postgresql", "postgres")
_ADDRESSES = {
    "postgres_url": _POSTGRES,
    "database_url": _POSTGRES,
    "redis_url": ("redis", "rediss", "unix"),
    "public_url": _HTTP,
    "internal_url": _HTTP,
    "accounts_url": _HTTP,
    "otlp_url": _HTTP,
}


def _leads_somewhere(address: str, schemes: Sequence[str]) -> bool:
    """Whether it has one of the schemes, and a host or what stands for one (a socket's path, `?host=`)."""
    parts = urlsplit(address)
    return parts.scheme in schemes and bool(parts.netloc or (schemes is not _HTTP and (parts.path or parts.query)))


class SettingsError(Exception):
    """A variable is missing or cannot be read; the message names it."""


S = TypeVar("S", bound=Settings)


def load(kind: type[S], environment: Mapping[str, str], *, service: str) -> S:
    """Build settings from `CAREFORALL_<FIELD>`, overridden by `CAREFORALL_<SERVICE>_<FIELD>`.

    Raises:
        SettingsError: Naming the variable at fault.
    """
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(kind):
        shared, own = f"CAREFORALL_{field.name.upper()}", f"CAREFORALL_{service.upper()}_{field.name.upper()}"
        name = own if environment.get(own) else shared
        if text := environment.get(name):
            values[field.name] = _read(name, text, field.type)
        elif field.required:
            raise SettingsError(f"settings of {service}: {name} is missing")
    try:
        return kind(**values)
    except ValueError as error:
        raise SettingsError(f"settings of {service}: {error} (variables are CAREFORALL_<FIELD>)") from error


def _read(name: str, text: str, kind: Any) -> Any:
    try:
        value = msgspec.convert(text, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{name} cannot be read: {error}") from error
    if isinstance(value, int | float) and not (math.isfinite(value) and value >= 0):
        raise SettingsError(f"{name} must be a finite number of at least 0")
    return value


def split(listed: str) -> tuple[str, ...]:
    """Return the values of a comma-separated setting."""
    return tuple(part.strip() for part in listed.split(",") if part.strip())
