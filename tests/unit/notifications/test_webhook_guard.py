"""Which addresses a webhook may reach, and what an endpoint's answer means."""

from __future__ import annotations

import pytest

from careforall.notifications.channels.webhook import ForbiddenTarget, checked_url, is_public, judged
from careforall.notifications.domain import SENT, Outcome


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1%eth0",
        "fd00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:192.168.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
    ],
)
def test_inner_addresses_are_refused(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/x",
        "ftp://example.org/x",
        "file:///etc/passwd",
        "https://user:secret@example.org/",
        "https://",
        "https://example.org:99999/",
        "example.org",
        "",
    ],
)
def test_urls_that_are_not_plain_https_are_refused(url: str) -> None:
    with pytest.raises(ForbiddenTarget):
        checked_url(url, allow_private=False)


def test_answers_tell_whether_to_try_again() -> None:
    assert judged(204, None) == SENT
    assert judged(410, None) == Outcome(error="answered 410", lasting=True)
    assert judged(302, None).lasting
    assert not judged(500, None).lasting
    assert judged(429, "120") == Outcome(error="answered 429", retry_after=120.0)
    assert judged(429, "999999").retry_after == 3600.0
