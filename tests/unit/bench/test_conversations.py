"""The raw requests the generator writes, read back as a server would."""

import hashlib
import hmac
import json

from careforall_bench.conversations import conversation
from careforall_bench.plan import Donations, Lives, Repeat, Webhooks

GIFTS = Donations(
    path="/api/v1/donations",
    campaigns=["c1", "c2"],
    currency="USD",
    token="t",
    amounts=("5.00", "7.50"),
    idempotent=True,
    keep=True,
)
ACCEPTED = b'{"id":"d1","status":"PENDING","payment_intent":{"id":"i1","pay_url":"/pay/i1"}}'


def read(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    assert int(headers.get("content-length", "0")) == len(body)
    return first, headers, body


def test_every_gift_has_its_own_donor_and_key_and_they_go_round_campaigns_and_amounts() -> None:
    talk = conversation(GIFTS, host="127.0.0.1", port=1)
    read_back = [read(talk.opening(number)) for number in range(8)]
    bodies = [json.loads(body) for _, _, body in read_back]
    assert {first for first, _, _ in read_back} == {"POST /api/v1/donations HTTP/1.1"}
    assert len({body["donor_email"] for body in bodies}) == len({headers["idempotency-key"] for _, headers, _ in read_back}) == 8
    assert {(body["campaign_id"], body["amount"]) for body in bodies} == {(c, a) for c in ("c1", "c2") for a in ("5.00", "7.50")}


def test_a_gift_is_over_with_its_answer_and_keeps_the_intent_only_when_accepted() -> None:
    talk = conversation(GIFTS, host="127.0.0.1", port=1)
    assert talk.reply(0, 201, ACCEPTED) is None
    assert talk.reply(1, 503, b"{}") is None
    assert talk.kept == ["i1"]


def test_messages_are_signed_over_their_raw_body_and_repeat_byte_for_byte() -> None:
    script = Webhooks(
        path="/hook",
        secret="s3",
        intents=["i1", "i2"],
        amount="5.00",
        currency="USD",
        token="t",
        timestamp="2026-01-01T00:00:00Z",
    )
    talk, again = (conversation(script, host="127.0.0.1", port=1) for _ in range(2))
    _, headers, body = read(talk.opening(0))
    assert headers["x-signature"] == "sha256=" + hmac.new(b"s3", body, hashlib.sha256).hexdigest()
    assert json.loads(body)["payment_intent_id"] == "i1"
    assert json.loads(body)["status"] == "SUCCESS"
    assert talk.opening(2) == talk.opening(0) == again.opening(0) != talk.opening(1)


def test_a_life_goes_on_with_the_message_for_its_intent_and_its_amount() -> None:
    talk = conversation(Lives(donations=GIFTS, webhook_path="/hook", secret="s3"), host="127.0.0.1", port=1)
    _, _, gift = read(talk.opening(1))
    message = talk.reply(1, 201, ACCEPTED)
    assert message is not None
    _, _, told = read(message)
    assert json.loads(told)["payment_intent_id"] == "i1"
    assert json.loads(told)["amount"] == json.loads(gift)["amount"] == "7.50"
    assert talk.reply(1, 404, b"{}") == message
    assert talk.reply(1, 200, b"{}") is None
    assert talk.tallies == {"accepted": 1, "told_too_early": 1, "told": 1}


def test_a_life_whose_gift_was_refused_ends_there() -> None:
    talk = conversation(Lives(donations=GIFTS, webhook_path="/hook", secret="s3"), host="127.0.0.1", port=1)
    assert talk.reply(0, 429, b"{}") is None
    assert talk.tallies == {}


def test_reads_go_round_their_paths_and_count_marks() -> None:
    talk = conversation(Repeat(paths=["/a", "/b"], marks=["hit"]), host="127.0.0.1", port=1)
    assert [read(talk.opening(number))[0] for number in range(3)] == [f"GET /{path} HTTP/1.1" for path in "aba"]
    talk.reply(0, 200, b"a hit")
    talk.reply(1, 200, b"a miss")
    assert talk.tallies == {"hit": 1}
