"""Reads one HTTP/1.1 answer out of the pieces in which it arrives.

It is strict: where the end of an answer is guessed, the next one on the same connection is somebody else's.
"""

import re

import msgspec

_MOST_HEAD = 64 * 1024
_MOST_BODY = 8 * 1024 * 1024
_END = b"\r\n\r\n"
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-5]\d\d)(?: [^\r\n]*)?\r\n")
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)")
_ENCODING = re.compile(rb"\r\ntransfer-encoding:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)")
_CONNECTION = re.compile(rb"\r\nconnection:[ \t]*([^\r\n]*?)[ \t]*(?=\r\n)")
_SIZE = re.compile(rb"([0-9a-fA-F]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_BODILESS = frozenset({204, 304})
_FIRST_FINAL = 200


class NotHttp(Exception):
    """What arrives is not plain HTTP/1.1, or too much of it."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer; `keeps` tells whether its connection may be used again."""

    status: int
    body: bytes
    keeps: bool = True


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What the head says about the body: its length, that it comes in chunks, or (neither) that it ends with the connection."""

    status: int
    length: int | None
    chunked: bool
    keeps: bool


class Reading:
    """One answer on its way."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._head: _Head | None = None

    def feed(self, data: bytes) -> Reply | None:
        """Take what arrived; return the answer once it is whole.

        Raises:
            NotHttp: It never will be.
        """
        self._buffer += data
        while self._head is None:
            if not self._read_head():
                return None
        if len(self._buffer) > _MOST_BODY:
            raise NotHttp(f"the answer is larger than {_MOST_BODY} bytes")
        return self._whole(self._head)

    def end(self) -> Reply | None:
        """Take that nothing more arrives; return the answer if that is its end."""
        head = self._head
        if head is None or head.chunked or head.length is not None:
            return None
        return Reply(status=head.status, body=bytes(self._buffer), keeps=False)

    def _read_head(self) -> bool:
        """Read the next head, passing over interim ones; return whether it was whole."""
        end = self._buffer.find(_END)
        if max(end, len(self._buffer) if end < 0 else 0) > _MOST_HEAD:
            raise NotHttp(f"the head of the answer is larger than {_MOST_HEAD} bytes")
        if end < 0:
            return False
        head = _head_of(bytes(self._buffer[: end + 2]))
        del self._buffer[: end + len(_END)]
        if head.status >= _FIRST_FINAL:
            self._head = head
        return True

    def _whole(self, head: _Head) -> Reply | None:
        if head.chunked:
            found = _unchunked(self._buffer)
            return None if found is None else self._reply(head, *found)
        if head.length is None or len(self._buffer) < head.length:
            return None
        return self._reply(head, bytes(self._buffer[: head.length]), head.length)

    def _reply(self, head: _Head, body: bytes, used: int) -> Reply:
        if used != len(self._buffer):
            raise NotHttp("more arrives than the answer is long")
        return Reply(status=head.status, body=body, keeps=head.keeps)


def _head_of(raw: bytes) -> _Head:
    found = _STATUS.match(raw)
    if found is None:
        raise NotHttp("the answer does not begin as HTTP/1.1 does")
    version, status = found.groups()
    fields = raw.lower()
    lengths, encodings = set(_LENGTH.findall(fields)), _ENCODING.findall(fields)
    if len(lengths) > 1 or (encodings and (lengths or encodings != [b"chunked"])):
        raise NotHttp("the answer does not say how long it is")
    length = _number(lengths.pop()) if lengths else None
    if int(status) in _BODILESS:
        length, encodings = 0, []
    words = [word.strip() for value in _CONNECTION.findall(fields) for word in value.split(b",")]
    keeps = (b"close" not in words) if version == b"1" else (b"keep-alive" in words)
    return _Head(status=int(status), length=length, chunked=bool(encodings), keeps=keeps)


def _number(text: bytes) -> int:
    if not text.isdigit() or len(text) > len(str(_MOST_BODY)) or int(text) > _MOST_BODY:
        raise NotHttp("the answer is too long, or does not say how long it is")
    return int(text)


def _unchunked(buffer: bytearray) -> tuple[bytes, int] | None:
    """Return the body and how many bytes it came in, or None while the last chunk is missing."""
    parts: list[bytes] = []
    at = 0
    while True:
        found = _SIZE.match(buffer, at)
        if found is None:
            if b"\r\n" in buffer[at : at + _MOST_HEAD]:
                raise NotHttp("a chunk does not say how long it is")
            return None
        size, at = int(found[1], 16), found.end()
        if size == 0:
            return _trailed(buffer, at, b"".join(parts))
        if len(buffer) < at + size + 2:
            return None
        if buffer[at + size : at + size + 2] != b"\r\n":
            raise NotHttp("a chunk is longer than it says")
        parts.append(bytes(buffer[at : at + size]))
        at += size + 2


def _trailed(buffer: bytearray, at: int, body: bytes) -> tuple[bytes, int] | None:
    """Return the body once the trailer, which says nothing to us, has ended."""
    if buffer[at : at + 2] == b"\r\n":
        return body, at + 2
    end = buffer.find(_END, at)
    return None if end < 0 else (body, end + len(_END))
