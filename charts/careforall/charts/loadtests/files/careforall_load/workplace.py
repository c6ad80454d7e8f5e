"""The folder in which a tool and the runner meet: what to play goes in, what was seen and promised comes out."""

import json
from pathlib import Path
from typing import Any

import msgspec

from careforall_load.report import Played
from careforall_load.table import Profile, Table


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What to play, against what."""

    table: Table
    profile: Profile
    url: str
    headers: dict[str, str]
    """Sent with every request, such as the Host that a gateway routes by."""
    secret: str
    """Of the generic webhook."""
    run: str
    scenarios: list[str]


class Workplace:
    """Paths of one run."""

    def __init__(self, folder: Path) -> None:
        self.order = folder / "order.json"
        self.played = folder / "played.json"
        self.promises = folder / "promises.jsonl"

    def give(self, order: Order) -> None:
        """Write the order; it holds a secret, so nobody else may read it."""
        self.order.touch(mode=0o600)
        self.order.write_bytes(msgspec.json.encode(order))

    def take(self) -> Order:
        """Read the order."""
        return msgspec.json.decode(self.order.read_bytes(), type=Order)

    def seen(self) -> Played:
        """Read what the tool saw."""
        return msgspec.json.decode(self.played.read_bytes(), type=Played)

    def promised(self) -> list[dict[str, Any]]:
        """Read what the platform promised, each once."""
        if not self.promises.exists():
            return []
        lines = dict.fromkeys(line for line in self.promises.read_text().splitlines() if line.startswith("{"))
        return [json.loads(line) for line in lines]
