"""What every conversation is, and raw requests to make them of."""

from collections import Counter
from typing import Protocol


class Conversation(Protocol):
    """Requests of a load: an opening each, and possibly a next request once an answer is there."""

    tallies: Counter[str]
    kept: list[str]
    pause: float
    """Seconds between an answer and the next request of its conversation."""

    def opening(self, number: int) -> bytes:
        """The raw first request of conversation `number`."""

    def reply(self, number: int, status: int, body: bytes) -> bytes | None:
        """The next raw request after an answer, or nothing when the conversation is over."""


def get_request(path: str, *, authority: str) -> bytes:
    """A raw keep-alive GET."""
    return f"GET {path} HTTP/1.1\r\nHost: {authority}\r\nAccept: application/json\r\n\r\n".encode()


def post_head(path: str, *, authority: str) -> bytes:
    """The part of a raw JSON POST that never changes; own headers, the length and the body follow."""
    return f"POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json\r\n".encode()
