"""Answers are read whole however they arrive, and what could be read in two ways is refused."""

import pytest

from careforall.kit.http.replies import NotHttp, Reading, Reply

PLAIN = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 7\r\n\r\n{"a":1}'
CHUNKED = b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n"
TRAILED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n1\r\nz\r\n0\r\nX-Sum: 1\r\n\r\n"
INTERIM = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + PLAIN
WHOLE = {
    PLAIN: Reply(status=200, body=b'{"a":1}'),
    CHUNKED: Reply(status=201, body=b"abc0123456789"),
    TRAILED: Reply(status=200, body=b"z"),
    INTERIM: Reply(status=200, body=b'{"a":1}'),
    b"HTTP/1.1 204 No Content\r\n\r\n": Reply(status=204, body=b""),
    b"HTTP/1.1 503\r\nContent-Length: 0\r\n\r\n": Reply(status=503, body=b""),
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\ncontent-length: 1\r\n\r\nx": Reply(status=200, body=b"x"),
    b"HTTP/1.1 200 OK\r\nConnection: Upgrade, Close\r\nContent-Length: 1\r\n\r\nx": Reply(status=200, body=b"x", keeps=False),
    b"HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx": Reply(status=200, body=b"x", keeps=False),
    b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx": Reply(status=200, body=b"x"),
}
AMBIGUOUS = (
    b"220 mail.example ESMTP\r\n\r\n",
    b"HTTP/2 200\r\n\r\n",
    b"HTTP/1.1 600 Odd\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1e3\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
    b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (8 * 1024 * 1024 + 1),
)


@pytest.mark.parametrize("raw", WHOLE)
def test_an_answer_is_whole_at_its_last_byte_and_not_before(raw: bytes) -> None:
    for cut in range(1, len(raw)):
        reading = Reading()
        assert reading.feed(raw[:cut]) is None
        assert reading.feed(raw[cut:]) == WHOLE[raw]
    reading = Reading()
    assert [reading.feed(raw[at : at + 1]) for at in range(len(raw))] == [*[None] * (len(raw) - 1), WHOLE[raw]]


@pytest.mark.parametrize("raw", AMBIGUOUS, ids=lambda raw: raw[:60].decode())
def test_what_is_not_plain_is_refused(raw: bytes) -> None:
    with pytest.raises(NotHttp):
        Reading().feed(raw)


def test_an_answer_without_a_length_ends_with_its_connection() -> None:
    reading = Reading()
    assert reading.feed(b"HTTP/1.1 200 OK\r\n\r\nfirst ") is None
    assert reading.feed(b"last") is None
    assert reading.end() == Reply(status=200, body=b"first last", keeps=False)


@pytest.mark.parametrize("raw", [b"", PLAIN[:20], PLAIN[:-1], CHUNKED[:-2]])
def test_an_answer_that_breaks_off_is_none(raw: bytes) -> None:
    reading = Reading()
    assert reading.feed(raw) is None
    assert reading.end() is None
