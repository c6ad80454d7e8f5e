"""The secrets of one instance: random, made once, kept private, handed to the services as environment."""

from __future__ import annotations

import base64
import secrets

from msgspec import Struct, convert, to_builtins

from careforall.launch.state import InstanceFolder


class Credentials(Struct, frozen=True, kw_only=True):
    """Every secret an instance needs."""

    secret_key: str
    webhook_secret: str
    simulator_secret: str
    admin_password: str
    donor_password: str
    postgres_password: str
    nats_password: str
    redis_password: str


def load_or_create(folder: InstanceFolder) -> Credentials:
    """Read the instance's secrets, making those that are missing (all of them at first)."""
    known = folder.read_secrets()
    made = {field: known.get(field) or _new(field) for field in Credentials.__struct_fields__}
    credentials = convert(made, Credentials)
    if made != known:
        folder.write_secrets(to_builtins(credentials))
    return credentials


def _new(field: str) -> str:
    if field in {"webhook_secret", "simulator_secret"}:
        return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
    return secrets.token_urlsafe(48 if field == "secret_key" else 18)
