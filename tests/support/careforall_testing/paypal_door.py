"""How the fake of PayPal lets callers in: tokens that end, request ids that answer once, errors in its shape, troubles."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec

from careforall_testing.loopback import Answered, Asked

CLIENT_ID, CLIENT_SECRET = "fake-client", "fake-secret"
WHOLE_ONLY = ("HUF", "JPY", "TWD")

Json = dict[str, Any]
Route = tuple[str, str, re.Pattern[str], Callable[..., Answered]]
"""An operation's name, method and path, and what does it."""
_TOO_LONG = 3600.0


class Refused(Exception):
    """An answer in PayPal's shape of errors."""

    def __init__(self, status: int, name: str, issue: str = "", description: str = "") -> None:
        super().__init__(issue or name)
        self.status = status
        details = [{"issue": issue, "description": description or issue}] if issue else []
        self.body: Json = {"name": name, "message": "It was refused.", "debug_id": secrets.token_hex(7), "details": details}


def unprocessable(issue: str, description: str = "") -> Refused:
    """The usual refusal."""
    return Refused(422, "UNPROCESSABLE_ENTITY", issue, description)


class Door:
    """What stands before every operation.

    Attributes:
        lifetime: Seconds a token lives.
        troubles: By operation what goes wrong with its next calls: "error" (500 after it was done), "silence" (no answer after it
            was done), "busy" (429, not done), "garbage" (unreadable after it was done). Under "capture_status" and
            "refund_status" wait the states the next captures and refunds get, under "refusal" issues with which the next
            approved orders are refused.
        unauthorised: How many calls came without a good token.
        calls: What was called, as (operation, request id).
    """

    def __init__(self) -> None:
        self.lifetime = 32_400.0
        self.troubles: dict[str, deque[str]] = {}
        self.calls: list[tuple[str, str]] = []
        self.unauthorised = 0
        self.routes: list[Route] = []
        self._tokens: dict[str, float] = {}
        self._replies: dict[str, tuple[bytes, Answered]] = {}

    def count(self, operation: str) -> int:
        """How often something was called."""
        return sum(name == operation for name, _ in self.calls)

    def trouble(self, operation: str, *kinds: str) -> None:
        """Make the next calls of an operation go wrong."""
        self.troubles.setdefault(operation, deque()).extend(kinds)

    def end_tokens(self) -> None:
        """Every token ends now, before its time."""
        self._tokens.clear()

    def next_of(self, what: str) -> str:
        """The state the next payment of a kind gets: COMPLETED unless a test said otherwise."""
        waiting = self.troubles.get(what)
        return waiting.popleft() if waiting else "COMPLETED"

    async def answer(self, asked: Asked) -> Answered:
        """Answer one request."""
        if (asked.method, asked.path) == ("POST", "/v1/oauth2/token"):
            return self._token(asked)
        if not self._is_known(asked):
            self.unauthorised += 1
            return as_json(401, {"error": "invalid_token", "error_description": "The token has expired."})
        for operation, method, pattern, work in self.routes:
            match = pattern.fullmatch(asked.path)
            if match and method == asked.method:
                return self._operate(operation, asked, lambda work=work, match=match: work(asked, *match.groups()))  # type: ignore[misc]
        return as_json(404, Refused(404, "RESOURCE_NOT_FOUND").body)

    def _operate(self, operation: str, asked: Asked, work: Callable[[], Answered]) -> Answered:
        self.calls.append((operation, asked.headers.get("paypal-request-id", "")))
        waiting = self.troubles.get(operation)
        trouble = waiting.popleft() if waiting else ""
        if trouble == "busy":
            return as_json(429, Refused(429, "RATE_LIMIT_REACHED").body)
        try:
            answer = self._once(asked, work) if asked.method == "POST" else work()
        except Refused as refused:
            answer = as_json(refused.status, refused.body)
        return _troubled(answer, trouble)

    def _once(self, asked: Asked, work: Callable[[], Answered]) -> Answered:
        key = asked.headers.get("paypal-request-id", "")
        if not 1 <= len(key) <= 108:
            raise Refused(400, "INVALID_REQUEST", "PAYPAL_REQUEST_ID_REQUIRED")
        if asked.headers.get("content-type") != "application/json":
            raise Refused(415, "UNSUPPORTED_MEDIA_TYPE")
        mark = hashlib.sha256(f"{asked.method} {asked.path}\n".encode() + asked.body).digest()
        if key not in self._replies:
            try:
                answer = work()
            except Refused as refused:
                answer = as_json(refused.status, refused.body)
            self._replies[key] = (mark, answer)
        if self._replies[key][0] != mark:
            raise unprocessable("DUPLICATE_REQUEST_ID", "The value of PayPal-Request-Id header has already been used")
        return self._replies[key][1]

    def _token(self, asked: Asked) -> Answered:
        self.calls.append(("token", ""))
        expected = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        if asked.headers.get("authorization") != f"Basic {expected}":
            return as_json(401, {"error": "invalid_client", "error_description": "Client Authentication failed"})
        if asked.body != b"grant_type=client_credentials":
            return as_json(400, {"error": "unsupported_grant_type", "error_description": "unsupported grant_type"})
        token = secrets.token_urlsafe(16)
        self._tokens[token] = time.monotonic() + self.lifetime
        return as_json(200, {"access_token": token, "token_type": "Bearer", "expires_in": int(self.lifetime)})

    def _is_known(self, asked: Asked) -> bool:
        kind, _, token = asked.headers.get("authorization", "").partition(" ")
        return kind == "Bearer" and self._tokens.get(token, 0) > time.monotonic()

    @staticmethod
    def represented(asked: Asked, whole: Json, status: int) -> Answered:
        """PayPal answers with little unless the whole is asked for."""
        if asked.headers.get("prefer") == "return=representation":
            return as_json(status, whole)
        return as_json(status, {name: whole[name] for name in ("id", "status", "links") if name in whole})


def _troubled(answer: Answered, trouble: str) -> Answered:
    match trouble:
        case "error":
            return as_json(500, Refused(500, "INTERNAL_SERVER_ERROR").body)
        case "silence":
            return Answered(delay=_TOO_LONG)
        case "garbage":
            return Answered(status=answer.status, body=b"<html>")
        case _:
            return answer


def parsed(asked: Asked, allowed: set[str]) -> Json:
    """The body, which may have these fields only."""
    try:
        body: Json = msgspec.json.decode(asked.body, type=dict)
    except msgspec.MsgspecError as error:
        raise Refused(400, "INVALID_REQUEST", "MALFORMED_REQUEST_JSON") from error
    if body.keys() - allowed:
        raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER")
    return body


def check_unit(unit: Json) -> None:
    """Refuse a purchase unit PayPal would refuse."""
    if unit.keys() - {"reference_id", "custom_id", "invoice_id", "description", "amount"}:
        raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER")
    if any(not 1 <= len(unit.get(name, "x")) <= 127 for name in ("custom_id", "invoice_id", "description")):
        raise Refused(400, "INVALID_REQUEST", "INVALID_STRING_LENGTH")
    check_amount(unit["amount"])


def check_amount(amount: Json) -> None:
    """Refuse an amount PayPal would refuse."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,3})?", amount["value"]) or not Decimal(amount["value"]):
        raise Refused(400, "INVALID_REQUEST", "INVALID_PARAMETER_SYNTAX")
    decimals = len(amount["value"].partition(".")[2])
    if amount["currency_code"] in WHOLE_ONLY and decimals:
        raise unprocessable("DECIMALS_NOT_SUPPORTED")
    if decimals not in {0, 2}:
        raise unprocessable("DECIMAL_PRECISION")


def as_json(status: int, body: Json) -> Answered:
    """An answer with a body."""
    return Answered(status=status, body=msgspec.json.encode(body), headers={"content-type": "application/json"})
