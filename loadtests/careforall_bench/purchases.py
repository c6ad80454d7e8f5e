"""Conversations of the shop: goods into carts, and whole purchases with the seconds of each stage."""

import time
from collections import Counter, deque
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from typing_extensions import override

from careforall_bench.plan import Buyer, CartAdditions, Checkouts
from careforall_bench.requests import Conversation, post_head

CREATED, DONE, ACCEPTED = 201, 200, 202
STAGES = ("cart", "till", "pay", "settle")
"""Into the cart; reserved and priced; paid, as far as the answer waits; until an order that was paid later is confirmed."""
CONFIRMED = "CONFIRMED"
MICROSECONDS = 1e6
LOOK_SECONDS = 0.05


class _Cart(Struct):
    cart_id: str


class _Till(Struct):
    checkout_id: str
    state: str = ""


_cart = msgspec.json.Decoder(_Cart).decode
_till = msgspec.json.Decoder(_Till).decode


class Filling(Conversation):
    """Each conversation is a guest who puts one product into a new cart."""

    def __init__(self, script: CartAdditions, *, authority: str) -> None:
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = 0.0
        head = post_head(script.path, authority=authority)
        self._requests = [_request(head, {"sku": sku, "quantity": 1}) for sku in script.skus]

    @override
    def opening(self, number: int) -> bytes:
        return self._requests[number % len(self._requests)]

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        self.tallies["taken"] += status == CREATED
        return None


class _Purchase:
    """Where one buyer is."""

    __slots__ = ("at", "buyer", "checkout", "since")

    def __init__(self, buyer: Buyer) -> None:
        self.buyer = buyer
        self.at = 0
        self.checkout = ""
        self.since = time.perf_counter()


class Buying(Conversation):
    """Each conversation is one purchase; `tallies` has the microseconds of each stage, and how many came to its end."""

    def __init__(self, script: Checkouts, *, authority: str) -> None:
        self.tallies: Counter[str] = Counter()
        self.kept: list[str] = []
        self.pause = 0.0
        self._script = script
        self._authority = authority
        self._free = deque(script.buyers)
        self._under_way: dict[int, _Purchase] = {}

    @override
    def opening(self, number: int) -> bytes:
        buyer = self._free.popleft() if self._free else self._stood_up()
        self._under_way[number] = _Purchase(buyer)
        sku = self._script.skus[number % len(self._script.skus)]
        return self._post(buyer, "/cart/items", {"sku": sku, "quantity": 1})

    @override
    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        purchase = self._under_way[number]
        self.pause = 0.0
        following = self._following(purchase, number, status, body)
        if following is None:
            del self._under_way[number]
            self._free.append(purchase.buyer)
        return following

    def _following(self, purchase: _Purchase, number: int, status: int, body: bytes) -> bytes | None:
        match STAGES[purchase.at]:
            case "cart" if status == CREATED:
                self._pass(purchase)
                asked = {"cart_id": _cart(body).cart_id, "shipping_address_id": purchase.buyer.address}
                return self._post(purchase.buyer, "/checkout/initiate", asked)
            case "till" if status == CREATED:
                self._pass(purchase)
                purchase.checkout = _till(body).checkout_id
                return self._pay(purchase, number)
            case "pay" if status in {DONE, ACCEPTED}:
                self._pass(purchase)
                return self._looked(purchase, bought=status == DONE)
            case "settle" if status == DONE:
                if _till(body).state == CONFIRMED:
                    self._pass(purchase)
                return self._looked(purchase, bought=purchase.at == len(STAGES))
            case stage:
                self.tallies[f"refused at {stage}"] += 1
                return None

    def _pass(self, purchase: _Purchase) -> None:
        now = time.perf_counter()
        stage = STAGES[purchase.at]
        self.tallies[f"{stage} us"] += round((now - purchase.since) * MICROSECONDS)
        self.tallies[stage] += 1
        purchase.at, purchase.since = purchase.at + 1, now

    def _looked(self, purchase: _Purchase, *, bought: bool) -> bytes | None:
        """Count a purchase that is through, or look again soon."""
        if bought:
            self.tallies["bought"] += 1
            return None
        return self._look(purchase.buyer, purchase.checkout)

    def _pay(self, purchase: _Purchase, number: int) -> bytes:
        key = f"{self._script.token}-{number}"
        body = {"payment_method": "CARD", "payment_token": "tok_ok", "idempotency_key": key}
        return self._post(purchase.buyer, f"/checkout/{purchase.checkout}/pay", body)

    def _post(self, buyer: Buyer, path: str, body: Mapping[str, object]) -> bytes:
        head = post_head(f"{self._script.api}{path}", authority=self._authority)
        return _request(head + f"Authorization: Bearer {buyer.authorization}\r\n".encode(), body)

    def _stood_up(self) -> Buyer:
        """The buyer whose purchase broke off longest ago: their connection is gone."""
        return self._under_way.pop(next(iter(self._under_way))).buyer

    def _look(self, buyer: Buyer, checkout: str) -> bytes:
        self.pause = LOOK_SECONDS
        line = f"GET {self._script.api}/checkout/{checkout} HTTP/1.1\r\nHost: {self._authority}\r\n"
        return f"{line}Accept: application/json\r\nAuthorization: Bearer {buyer.authorization}\r\n\r\n".encode()


def _request(head: bytes, body: Mapping[str, object]) -> bytes:
    encoded = msgspec.json.encode(body)
    return b"%bContent-Length: %d\r\n\r\n%b" % (head, len(encoded), encoded)
