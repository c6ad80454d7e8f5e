"""Argon2id beside the loop: strong enough, the same for every keyboard, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from careforall.accounts.errors import PasswordsBusy
from careforall.accounts.passwords import Passwords


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords(workers=1, queue=1)
    yield made
    await made.close()


async def test_hashes_carry_the_costs_and_a_salt(passwords: Passwords) -> None:
    first, second = await passwords.hash("quiet harbour lamp"), await passwords.hash("quiet harbour lamp")
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second
    assert not passwords.is_outdated(first)


async def test_only_the_password_matches(passwords: Passwords) -> None:
    stored = await passwords.hash("quiet harbour lamp")
    assert await passwords.matches(stored, "quiet harbour lamp")
    assert not await passwords.matches(stored, "quiet harbour lamp ")
    assert not await passwords.matches(None, "quiet harbour lamp")
    assert not await passwords.matches("no hash at all", "quiet harbour lamp")


async def test_passwords_beyond_72_bytes_are_told_apart(passwords: Passwords) -> None:
    prefix = "long shared beginning " * 5
    stored = await passwords.hash(prefix + "1")
    assert not await passwords.matches(stored, prefix + "2")


def test_both_ways_to_type_an_accent_are_one_password() -> None:
    assert Passwords.typed("cafe\u0301 terrace") == Passwords.typed("caf\u00e9 terrace")


async def test_the_queue_is_bounded(passwords: Passwords) -> None:
    outcomes = await asyncio.gather(*(passwords.hash("quiet harbour lamp") for _ in range(5)), return_exceptions=True)
    refused = [outcome for outcome in outcomes if isinstance(outcome, PasswordsBusy)]
    assert len(refused) == 3
    assert (refused[0].status, refused[0].retry_after) == (429, 1)
    assert (await passwords.hash("quiet harbour lamp")).startswith("$argon2id$")
