"""Argon2id beside the event loop: memory-hard for those who guess, bounded so that it cannot be used to exhaust us.

Used by every use case that sets or checks a password. A room of its own because it owns threads and a queue.
"""

import asyncio
import os
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files
from typing import TypeVar

import argon2
from argon2.exceptions import InvalidHashError, VerificationError

from careforall.accounts.errors import PasswordsBusy

T = TypeVar("T")

_MEMORY_KIB = 19 * 1024
_ROUNDS = 2


class Passwords:
    """Hashes and checks passwords, a few at once, the rest in a bounded queue.

    Args:
        workers: At once; 0 takes half of the cores.
        queue: How many may wait.
    """

    def __init__(self, *, workers: int = 0, queue: int = 32) -> None:
        at_once = workers or max(1, (os.cpu_count() or 1) // 2)
        self._threads = ThreadPoolExecutor(at_once, thread_name_prefix="passwords")
        self._free = at_once + queue
        self._argon = argon2.PasswordHasher(time_cost=_ROUNDS, memory_cost=_MEMORY_KIB, parallelism=1)
        self._nobody = ""
        self.breached = _breached()

    @staticmethod
    def typed(password: str) -> str:
        """Return a password in the one form that is hashed, whichever keyboard wrote it."""
        return unicodedata.normalize("NFC", password)

    async def prepare(self) -> None:
        """Make the hash that unknown mails are checked against, so that they take as long as known ones."""
        if not self._nobody:
            self._nobody = await self._run(lambda: self._argon.hash(os.urandom(16)))

    async def close(self) -> None:
        """Let the threads end."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def hash(self, password: str) -> str:
        """Return the encoded argon2id hash.

        Raises:
            PasswordsBusy: The queue is full.
        """
        return await self._run(lambda: self._argon.hash(password))

    async def matches(self, stored: str | None, password: str) -> bool:
        """Whether a password is the stored one; None takes as long as a wrong one.

        Raises:
            PasswordsBusy: The queue is full.
        """
        if stored is None:
            await self.prepare()
        against = stored if stored is not None else self._nobody
        matched = await self._run(lambda: self._verified(against, password))
        return matched and stored is not None

    def is_outdated(self, stored: str) -> bool:
        """Whether a hash was made with other costs than today's."""
        return self._argon.check_needs_rehash(stored)

    def _verified(self, stored: str, password: str) -> bool:
        try:
            return self._argon.verify(stored, password)
        except (VerificationError, InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._free <= 0:
            raise PasswordsBusy(retry_after=1)
        self._free -= 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._free += 1


def _breached() -> frozenset[str]:
    text = (files("careforall.accounts") / "common_passwords.txt").read_text(encoding="utf-8")
    return frozenset(line for line in text.splitlines() if line and not line.startswith("#"))
