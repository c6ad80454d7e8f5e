"""What the generator says and how it goes on after an answer; one object per process, built from a plan's script."""

import hashlib
import hmac
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
from typing_extensions import override

from careforall_bench.plan import CartAdditions, Checkouts, Donations, Lives, Repeat, Reservations, Script, Webhooks
from careforall_bench.purchases import Buying, Filling
from careforall_bench.requests import Conversation, get_request, post_head

OK, CREATED = 200, 201
GATEWAY_SECONDS = 0.5


class _Intent(msgspec.Struct):
    id: str


class _Accepted(msgspec.Struct):
    payment_intent: _Intent


_accepted = msgspec.json.Decoder(_Accepted)


def conversation(script: Script, *, host: str, port: int) -> Conversation:
    """The conversation a script describes."""
    authority = f"{host}:{port}"
    return _KINDS[type(script)](script, authority=authority)


def signature(secret: str, body: bytes) -> str:
    """`X-Signature` of the generic webhook endpoint."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


class _Repeating(Conversation):
    def __init__(self, script: Repeat, *, authority: str) -> None:
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = 0.0
        self._requests = [get_request(path, authority=authority) for path in script.paths]
        self._marks = [(mark, mark.encode()) for mark in script.marks]

    @override
    def opening(self, number: int) -> bytes:
        return self._requests[number % len(self._requests)]

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        for name, mark in self._marks:
            if mark in body:
                self.tallies[name] += 1
        return None


class _Donating(Conversation):
    def __init__(self, script: Donations, *, authority: str) -> None:
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = 0.0
        self._keep = script.keep
        self._idempotent = script.idempotent
        self._token = script.token
        self._head = post_head(script.path, authority=authority)
        self._bodies = [
            f'{{"campaign_id":"{campaign}","amount":"{amount}","currency":"{script.currency}","donor_email":"'
            for campaign in script.campaigns
            for amount in script.amounts
        ]

    @override
    def opening(self, number: int) -> bytes:
        donor = f"donor-{self._token}-{number}"
        body = f'{self._bodies[number % len(self._bodies)]}{donor}@example.org"}}'
        key = f"Idempotency-Key: {donor}\r\n" if self._idempotent else ""
        return b"%b%bContent-Length: %d\r\n\r\n%b" % (self._head, key.encode(), len(body), body.encode())

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        if self._keep and status == CREATED:
            self.kept.append(_accepted.decode(body).payment_intent.id)
        return None


class _Reserving(Conversation):
    def __init__(self, script: Reservations, *, authority: str) -> None:
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = 0.0
        self._token = script.token
        body = f'{{"lines":[{{"sku":"{script.sku}","quantity":1}}]}}'
        head = post_head(script.path, authority=authority).decode() + f"Authorization: Bearer {script.authorization}\r\n"
        self._head = f"{head}Content-Length: {len(body)}\r\n".encode()
        self._end = f"\r\n\r\n{body}".encode()

    @override
    def opening(self, number: int) -> bytes:
        return b"%bIdempotency-Key: %b-%d%b" % (self._head, self._token.encode(), number, self._end)

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        return None


class _Telling(Conversation):
    def __init__(self, script: Webhooks, *, authority: str) -> None:
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = 0.0
        self._teller = _Teller(script.path, script.secret, script.currency, script.token, script.timestamp, authority=authority)
        self._requests = [self._teller.success(intent, script.amount) for intent in script.intents]

    @override
    def opening(self, number: int) -> bytes:
        return self._requests[number % len(self._requests)]

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        return None


class _Living(Conversation):
    """A gateway speaks a moment after the gift, and again where it was not taken (a 404 while the payment is not known).

    As gateways do, it waits twice as long before each further try.
    """

    def __init__(self, script: Lives, *, authority: str) -> None:
        gifts = script.donations
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = GATEWAY_SECONDS
        self._gifts = _Donating(gifts, authority=authority)
        now = datetime.now(UTC).isoformat()
        self._teller = _Teller(script.webhook_path, script.secret, gifts.currency, gifts.token, now, authority=authority)
        self._amounts = gifts.amounts
        self._told: dict[int, bytes] = {}
        self._waits: dict[int, float] = {}

    @override
    def opening(self, number: int) -> bytes:
        return self._gifts.opening(number)

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        told = self._told.get(number)
        if told is None:
            return self._accepted(number, body) if status == CREATED else None
        if status != OK:
            self.tallies["told_too_early"] += 1
            self.pause = self._waits[number] = 2 * self._waits.get(number, GATEWAY_SECONDS)
            return told
        del self._told[number]
        self._waits.pop(number, None)
        self.tallies["told"] += 1
        return None

    def _accepted(self, number: int, body: bytes) -> bytes:
        self.tallies["accepted"] += 1
        self.pause = GATEWAY_SECONDS
        intent = _accepted.decode(body).payment_intent.id
        self._told[number] = self._teller.success(intent, self._amounts[number % len(self._amounts)])
        return self._told[number]


class _Teller:
    """Writes the gateway's signed messages."""

    def __init__(self, path: str, secret: str, currency: str, token: str, timestamp: str, *, authority: str) -> None:
        self._head = post_head(path, authority=authority)
        self._secret = secret
        self._currency = currency
        self._token = token
        self._timestamp = timestamp

    def success(self, intent: str, amount: str) -> bytes:
        body = (
            f'{{"event_id":"evt-{self._token}-{intent}","payment_intent_id":"{intent}","status":"SUCCESS",'
            f'"amount":"{amount}","currency":"{self._currency}","timestamp":"{self._timestamp}"}}'
        ).encode()
        signed = signature(self._secret, body).encode()
        return b"%bX-Signature: %b\r\nContent-Length: %d\r\n\r\n%b" % (self._head, signed, len(body), body)


_KINDS: Mapping[type[Script], Callable[..., Conversation]] = {
    Repeat: _Repeating,
    Donations: _Donating,
    Reservations: _Reserving,
    CartAdditions: Filling,
    Checkouts: Buying,
    Webhooks: _Telling,
    Lives: _Living,
}
