"""How the fake of Stripe reads what it is sent, and how it says no: forms with nested names, each parameter known and right."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qsl

Json = dict[str, Any]

CURRENCIES = frozenset({"eur", "usd", "gbp", "jpy", "isk", "kwd"})


class Refusal(Exception):
    """A refusal in Stripe's words; a `kept` one came up while the call was carried out, and answers its key from then on."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str = "",
        kind: str = "invalid_request_error",
        kept: bool = False,
        **more: str,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.kept = kept
        self.body: Json = {"error": {"type": kind, "message": message, **({"code": code} if code else {}), **more}}


def nested(form: str) -> Json:
    """Return what a form says: `a[b][0]=c` is {"a": {"b": ["c"]}}."""
    root: Json = {}
    for name, value in parse_qsl(form, keep_blank_values=True, strict_parsing=bool(form)):
        parts = re.findall(r"[^\[\]]+", name)
        at = root
        for part in parts[:-1]:
            at = at.setdefault(part, {})
        at[parts[-1]] = value
    return {name: _lists(value) for name, value in root.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(one) for name, one in value.items()}
    return list(inner.values()) if inner and all(name.isdecimal() for name in inner) else inner


def only(wanted: Json, *, allowed: set[str], required: frozenset[str] | set[str] = frozenset()) -> None:
    """Refuse parameters that are unknown or missing."""
    for name in sorted(set(wanted) - allowed - required):
        raise Refusal(400, f"Received unknown parameter: {name}", code="parameter_unknown", param=name)
    for name in sorted(required - set(wanted)):
        raise Refusal(400, f"Missing required param: {name}.", code="parameter_missing", param=name)


def price(items: Any) -> tuple[int, str]:
    if not isinstance(items, list) or len(items) != 1:
        raise Refusal(400, "The fake takes one line item.", param="line_items")
    only(items[0], required={"quantity", "price_data"}, allowed=set())
    price: Json = items[0]["price_data"]
    only(price, required={"currency", "unit_amount", "product_data"}, allowed=set())
    only(price["product_data"], required={"name"}, allowed=set())
    if not price["product_data"]["name"]:
        raise Refusal(400, "You passed an empty string for the product's name.", code="parameter_invalid_empty")
    if price["currency"] not in CURRENCIES:
        raise Refusal(400, f"Invalid currency: {price['currency']}.", param="currency")
    return whole(price["unit_amount"], "unit_amount") * whole(items[0]["quantity"], "quantity"), price["currency"]


def whole(text: str, name: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise Refusal(400, f"Invalid positive integer: {text}", code="parameter_invalid_integer", param=name)
    return int(text)


def address(text: str | None, name: str) -> str | None:
    if text is not None and not text.startswith(("http://", "https://")):
        raise Refusal(400, f"Not a valid URL: {text}", code="url_invalid", param=name)
    return text


def metadata(wanted: Json) -> Json:
    noted: Json = wanted.get("metadata", {})
    if any(not isinstance(value, str) or len(value) > 500 or len(name) > 40 for name, value in noted.items()):
        raise Refusal(400, "Metadata is short text under short names.", param="metadata")
    return noted
