"""Purchases of the generator, read back as a server would, step by step to their end."""

import json

from careforall_bench.conversations import conversation
from careforall_bench.plan import Buyer, CartAdditions, Checkouts
from careforall_bench.purchases import LOOK_SECONDS

SCRIPT = Checkouts(
    api="/api/v1",
    buyers=[Buyer(authorization="t1", address="a1"), Buyer(authorization="t2", address="a2")],
    skus=["ONE", "TWO"],
    token="run",
)
CART, TILL = b'{"cart_id":"c1","items":[]}', b'{"checkout_id":"k1","state":"RESERVED"}'


def read(request: bytes | None) -> tuple[str, dict[str, str], dict[str, object]]:
    assert request is not None
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert int(headers.get("content-length", "0")) == len(body)
    return first.removesuffix(" HTTP/1.1"), headers, json.loads(body or b"{}")


def test_a_purchase_goes_from_the_cart_to_the_till_and_pays() -> None:
    talk = conversation(SCRIPT, host="127.0.0.1", port=1)
    path, headers, body = read(talk.opening(0))
    assert (path, headers["authorization"], body) == ("POST /api/v1/cart/items", "Bearer t1", {"sku": "ONE", "quantity": 1})
    path, _, body = read(talk.reply(0, 201, CART))
    assert (path, body) == ("POST /api/v1/checkout/initiate", {"cart_id": "c1", "shipping_address_id": "a1"})
    path, _, body = read(talk.reply(0, 201, TILL))
    assert path == "POST /api/v1/checkout/k1/pay"
    assert body == {"payment_method": "CARD", "payment_token": "tok_ok", "idempotency_key": "run-0"}
    assert talk.reply(0, 200, b"{}") is None
    assert (talk.tallies["bought"], talk.tallies["cart"], talk.tallies["till"], talk.tallies["pay"]) == (1, 1, 1, 1)
    assert talk.tallies["settle"] == 0


def test_what_is_paid_later_is_looked_at_until_it_is_confirmed() -> None:
    talk = conversation(SCRIPT, host="127.0.0.1", port=1)
    talk.opening(0)
    talk.reply(0, 201, CART)
    talk.reply(0, 201, TILL)
    assert read(talk.reply(0, 202, b"{}"))[0] == "GET /api/v1/checkout/k1"
    assert talk.pause == LOOK_SECONDS
    assert read(talk.reply(0, 200, b'{"checkout_id":"k1","state":"PAYING"}'))[0] == "GET /api/v1/checkout/k1"
    assert talk.tallies["bought"] == 0
    assert talk.reply(0, 200, b'{"checkout_id":"k1","state":"CONFIRMED"}') is None
    assert (talk.tallies["bought"], talk.pause) == (1, 0)


def test_a_refusal_ends_the_purchase_and_its_buyer_comes_again() -> None:
    talk = conversation(SCRIPT, host="127.0.0.1", port=1)
    assert [read(talk.opening(number))[1]["authorization"] for number in (0, 1)] == ["Bearer t1", "Bearer t2"]
    assert talk.reply(1, 409, b"{}") is None
    assert talk.tallies["refused at cart"] == 1
    _, headers, body = read(talk.opening(2))
    assert (headers["authorization"], body["sku"]) == ("Bearer t2", "ONE")


def test_where_a_connection_broke_the_buyer_is_taken_from_the_purchase_that_began_first() -> None:
    talk = conversation(SCRIPT, host="127.0.0.1", port=1)
    talk.opening(0)
    talk.opening(1)
    assert read(talk.opening(2))[1]["authorization"] == "Bearer t1"


def test_guests_fill_new_carts_with_one_product_after_another() -> None:
    talk = conversation(CartAdditions(path="/cart/items", skus=["ONE", "TWO"]), host="127.0.0.1", port=1)
    told = [read(talk.opening(number)) for number in range(3)]
    assert [body["sku"] for _, _, body in told] == ["ONE", "TWO", "ONE"]
    assert all("authorization" not in headers and "x-cart-id" not in headers for _, headers, _ in told)
    assert [talk.reply(number, status, b"{}") for number, status in enumerate((201, 409))] == [None, None]
    assert talk.tallies["taken"] == 1
