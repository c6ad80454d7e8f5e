"""HTTP shapes of webhook endpoints and their deliveries. Input forbids unknown fields."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import UNSET, Meta, UnsetType

from careforall.sync.domain_webhooks import DeliveryStatus, DisabledReason

UrlIn = Annotated[str, Meta(max_length=2000, description="https, without credentials, at a public address.")]
TypesIn = Annotated[
    list[str],
    Meta(min_length=1, max_length=50, description="Types as `GET /events` shows them, or `*` for all, future ones too."),
]
DescriptionIn = Annotated[str, Meta(max_length=200)]


class NewEndpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Make an endpoint."""

    url: UrlIn
    event_types: TypesIn
    description: DescriptionIn = ""
    enabled: bool = True


class EndpointPatch(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Change an endpoint; absent fields stay. `version` may also come as If-Match."""

    version: int | UnsetType = UNSET
    url: UrlIn | UnsetType = UNSET
    event_types: TypesIn | UnsetType = UNSET
    description: DescriptionIn | UnsetType = UNSET
    enabled: bool | UnsetType = UNSET


class EndpointOut(msgspec.Struct, frozen=True, kw_only=True):
    """An endpoint. `disabled_reason`: `staff`, or `gone` where it answered 410; `replaying` while old events are looked at."""

    id: UUID
    url: str
    event_types: tuple[str, ...]
    description: str
    enabled: bool
    disabled_reason: DisabledReason | None
    disabled_at: datetime | None
    replaying: bool
    version: int
    created_at: datetime
    updated_at: datetime


class EndpointWithSecret(EndpointOut, frozen=True, kw_only=True):
    """A new endpoint with the secret that its webhooks are signed by, shown here and never again; null once it was replaced."""

    secret: str | None


class NewSecret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Replace the secret; the old ones sign too for so many seconds, a day if nothing is said, 0 where one has leaked."""

    old_seconds: Annotated[int, Meta(ge=0, le=86_400)] = 86_400


class SecretOut(msgspec.Struct, frozen=True, kw_only=True):
    """The new secret, shown here and never again; null once it was replaced itself."""

    secret: str | None
    old_seconds: int


class Replay(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Deliver again what was stored since a moment of the last 30 days and was missed, given up on or ended."""

    since: Annotated[datetime, Meta(tz=True)]


class DeliveryOut(msgspec.Struct, frozen=True, kw_only=True):
    """An event on its way to an endpoint.

    FAILED is tried again at `next_try_at`, DEAD was given up on, ENDED because the endpoint was disabled. `event_id` is the
    `webhook-id`; what was answered last is told by its status or, where there was none, by `last_error`.
    """

    id: UUID
    event_id: UUID
    event_type: str
    test: bool
    status: DeliveryStatus
    attempts: int
    next_try_at: datetime | None
    last_status_code: int | None
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None


StatusQuery = Literal["PENDING", "PROCESSED", "FAILED", "DEAD", "ENDED"]
