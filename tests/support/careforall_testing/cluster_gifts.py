"""Gifts to a platform in a cluster: one that is paid to its end, and a steady stream that counts every answer."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx2

from careforall.cli.simulate import Action, Session, run

PAUSE_S = 0.05
AWAY = ('"code":"database_unavailable"', '"code":"degraded"', '"code":"outcome_unknown"', "no healthy upstream")
"""What says that the database has no primary just now: a service, or the front door when no service is ready any more."""
COMPLETED_S = 60.0


def live_campaign(client: httpx2.Client) -> str:
    """Return the id of a demo campaign that takes gifts."""
    found = client.get("/api/v1/campaigns", params={"limit": 50}).raise_for_status().json()
    campaigns = found["items"] if isinstance(found, dict) and "items" in found else found.get("data", found)
    identifier: str = next(one["id"] for one in campaigns if one["status"] == "LIVE")
    return identifier


def pledge(client: httpx2.Client, campaign: str, key: str = "") -> httpx2.Response:
    """Ask for a gift of 25."""
    body = {"campaign_id": campaign, "donor_email": "donor1@example.org", "amount": "25.00"}
    return client.post("/api/v1/donations", json=body, headers={"Idempotency-Key": key or str(uuid.uuid4())})


def completed_gift(client: httpx2.Client) -> dict[str, Any]:
    """Give, pay at the simulated gateway, and wait until the gift is complete."""
    gift = pledge(client, live_campaign(client)).raise_for_status().json()
    run(Session(client, gift["payment_intent"]["id"]), Action.SUCCESS, amount=None, seed=0, times=None)
    deadline = time.monotonic() + COMPLETED_S
    while True:
        answer = client.get(f"/api/v1/donations/{gift['id']}", headers={"X-Receipt-Token": gift["receipt_token"]})
        seen: dict[str, Any] = answer.raise_for_status().json()
        if seen["status"] == "COMPLETED":
            return seen
        assert time.monotonic() < deadline, seen
        time.sleep(0.2)


class Stream:
    """Gifts one after the other, and what was answered that is no 201."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        """Gifts that were acknowledged, with the tokens of their receipts."""
        self.failures: list[str] = []

    @property
    def accepted(self) -> int:
        """How many gifts were acknowledged."""
        return len(self.taken)

    def unexpected(self) -> list[str]:
        """Return the failures that do not say that nothing can be written for a moment."""
        return [one for one in self.failures if not (one.startswith("503 ") and any(said in one for said in AWAY))]

    def lost(self, client: httpx2.Client) -> list[str]:
        """Return acknowledged gifts that nobody knows any more."""
        return [gift for gift, token in self.taken.items() if not _is_known(client, gift, token)]

    def give(self, base: str, headers: dict[str, str], stop: threading.Event) -> None:
        """Give until told to stop; each gift has a key of its own and is asked for once."""
        with httpx2.Client(base_url=base, headers=headers, timeout=30, trust_env=False) as client:
            campaign = live_campaign(client)
            while not stop.wait(PAUSE_S):
                self._one(client, campaign)

    def _one(self, client: httpx2.Client, campaign: str) -> None:
        try:
            answer = pledge(client, campaign)
        except httpx2.HTTPError as error:
            self.failures.append(repr(error))
            return
        if answer.status_code == httpx2.codes.CREATED:
            gift = answer.json()
            self.taken[gift["id"]] = gift["receipt_token"]
        else:
            self.failures.append(f"{answer.status_code} {answer.text[:200]}")


@contextlib.contextmanager
def steady_gifts(base: str, headers: dict[str, str], *, givers: int = 3) -> Iterator[Stream]:
    """Give all the time while the block runs; read the stream's figures after it."""
    stream, stop = Stream(), threading.Event()
    threads = [threading.Thread(target=stream.give, args=(base, headers, stop)) for _ in range(givers)]
    for thread in threads:
        thread.start()
    try:
        yield stream
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)


def _is_known(client: httpx2.Client, gift: str, token: str) -> bool:
    answer = client.get(f"/api/v1/donations/{gift}", headers={"X-Receipt-Token": token})
    return answer.status_code == httpx2.codes.OK
