"""The table of scenarios as typed data, read once and checked before anything is sent."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

TABLE = Path(__file__).parents[1] / "scenarios.yaml"


class Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of the table; a word that is not known is a mistake, not an extension."""


class Lookup(Strict, frozen=True, kw_only=True):
    """A value that every visit draws from a list the platform answers with, asked for once."""

    value: str
    path: str
    items: str
    """JSON pointer of the list."""
    pointer: str
    """JSON pointer of the value inside an item."""
    where: dict[str, Any] = {}
    """Members an item must have."""


class Retry(Strict, frozen=True, kw_only=True):
    """Answers after which a step is sent again, as a caller of the real world would."""

    statuses: list[int]
    times: int
    seconds: float


class Limit(Strict, frozen=True, kw_only=True):
    """Percentiles in milliseconds that may not be exceeded."""

    p95: float
    p99: float


class Promise(Strict, frozen=True, kw_only=True):
    """What must be found after the run, once a step was answered as expected: the platform promised not to lose it."""

    path: str
    headers: dict[str, str] = {}


class Step(Strict, frozen=True, kw_only=True):
    """One request."""

    name: str
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    expect: list[int]
    headers: dict[str, str] = {}
    body: dict[str, Any] | None = None
    signed: bool = False
    """Whether the body is signed as messages to the generic webhook are."""
    keep: dict[str, str] = {}
    retry: Retry | None = None
    limit: Limit | None = None
    promises: Promise | None = None
    ends: list[int] = []
    """Answers after which the visit is over though nothing failed, such as a product that is sold out."""


class Scenario(Strict, frozen=True, kw_only=True):
    """What one visitor does."""

    about: str
    weight: int
    steps: list[Step]


class Stage(Strict, frozen=True, kw_only=True):
    """Visits a second at the end of the stage, reached in a straight line."""

    seconds: float
    rate: float


class Profile(Strict, frozen=True, kw_only=True):
    """How much, how long, and what may fail."""

    about: str
    stages: list[Stage]
    failures: float
    """Share of requests that may fail."""
    limits: bool = True
    """Whether the steps' limits count."""

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(stage.seconds for stage in self.stages)

    def rate(self, at: float) -> float | None:
        """Visits a second at a moment of the run; None when it is over."""
        before = self.stages[0].rate if len(self.stages) == 1 else 0.0
        for stage in self.stages:
            if at < stage.seconds:
                return before + (stage.rate - before) * at / stage.seconds
            at, before = at - stage.seconds, stage.rate
        return None


class Table(Strict, frozen=True, kw_only=True):
    """Everything."""

    values: dict[str, list[str]] = {}
    before: list[Lookup] = []
    scenarios: dict[str, Scenario]
    profiles: dict[str, Profile]

    def steps(self) -> dict[str, Step]:
        """Return every step by its full name."""
        return {f"{name}/{step.name}": step for name, scenario in self.scenarios.items() for step in scenario.steps}

    def only(self, names: Sequence[str]) -> "Table":
        """Return the table with these scenarios alone, and with the lookups that they need."""
        scenarios = {name: self.scenarios[name] for name in names}
        written = msgspec.json.encode(scenarios).decode()
        before = [lookup for lookup in self.before if f"{{{{{lookup.value}}}}}" in written]
        return msgspec.structs.replace(self, scenarios=scenarios, before=before)

    def limits(self, profile: Profile) -> dict[str, Limit]:
        """Return what counts in a profile, by the full name of the step."""
        return {name: step.limit for name, step in self.steps().items() if step.limit and profile.limits}


def read(path: Path = TABLE) -> Table:
    """Read the table.

    Raises:
        msgspec.ValidationError: It says something that nobody would understand.
    """
    return msgspec.yaml.decode(path.read_bytes(), type=Table)
