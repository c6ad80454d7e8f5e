"""The customers the fake of Stripe knows: strict about parameters, and with what they say to whoever asks or listens."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable
from typing import Any

from careforall_testing.stripe_forms import Json, Refusal, metadata, only

_FIELDS = {"email", "name", "metadata"}
_MAIL = re.compile(r"[^@\s]+@[^@\s]+\.[^@\s]+")


class Customers:
    """Customers by name, deleted ones too.

    Args:
        tell: Notes an event with its object and what changed about it.
    """

    def __init__(self, tell: Callable[..., None]) -> None:
        self.all: dict[str, Json] = {}
        self.deleted: set[str] = set()
        self._tell = tell

    @property
    def present(self) -> list[Json]:
        """Those that are not deleted, oldest first."""
        return [one for name, one in self.all.items() if name not in self.deleted]

    def make(self, wanted: Json) -> Json:
        """Make a customer."""
        fields = _checked(wanted)
        name = f"cus_{secrets.token_hex(7)}"
        self.all[name] = {
            "id": name,
            "object": "customer",
            "created": int(time.time()),
            "email": None,
            "name": None,
            "metadata": {},
            "livemode": False,
            **{field: value for field, value in fields.items() if value not in ("", None)},
        }
        self._tell("customer.created", self.all[name])
        return self.all[name]

    def change(self, name: str, wanted: Json) -> Json:
        """Change a customer: what is empty is unset, metadata is merged."""
        found, fields = self.found(name), _checked(wanted)
        merged = {**found["metadata"], **fields.pop("metadata", {})}
        fresh = {field: value or None for field, value in fields.items()}
        fresh["metadata"] = {field: value for field, value in merged.items() if value}
        before = {field: found[field] for field, value in fresh.items() if found[field] != value}
        self.all[name] = found | fresh
        if before:
            self._tell("customer.updated", self.all[name], before=before)
        return self.all[name]

    def delete(self, name: str) -> Json:
        """Delete a customer."""
        found = self.found(name)
        self.deleted.add(name)
        self._tell("customer.deleted", found)
        return {"id": name, "object": "customer", "deleted": True}

    def found(self, name: str) -> Json:
        """Return a customer that can still be changed."""
        if name not in self.all or name in self.deleted:
            raise Refusal(404, f"No such customer: '{name}'", code="resource_missing", param="id")
        return self.all[name]

    def shown(self, name: str) -> Json:
        """Return a customer as it is shown; of a deleted one little is left."""
        return {"id": name, "object": "customer", "deleted": True} if name in self.deleted else self.found(name)

    def listed(self, asked: Json) -> Json:
        """List customers of a mail, newest first."""
        only(asked, allowed={"email", "limit", "starting_after"})
        found = [one for one in reversed(self.present) if one["email"] == asked.get("email", one["email"])]
        if after := asked.get("starting_after"):
            found = found[[one["id"] for one in found].index(after) + 1 :]
        limit = int(asked.get("limit", 10))
        return {"object": "list", "data": found[:limit], "has_more": len(found) > limit, "url": "/v1/customers"}


def _checked(wanted: Json) -> dict[str, Any]:
    only(wanted, allowed=_FIELDS)
    email = wanted.get("email", "")
    if email and (not _MAIL.fullmatch(email) or not email.isascii() or len(email) > 512):
        raise Refusal(400, f"Invalid email address: {email}", code="email_invalid", param="email")
    if len(wanted.get("name", "")) > 256:
        raise Refusal(400, "Invalid string: must be at most 256 characters", code="string_too_long", param="name")
    if len(metadata(wanted)) > 50:
        raise Refusal(400, "Metadata can have at most 50 keys.", param="metadata")
    return dict(wanted)
