"""One run: a seed, so many steps of trouble, then rest, then the checks; and the report that lets a failure be replayed."""

from __future__ import annotations

import hashlib
import re
import time

import msgspec

from careforall_testing.simulation.faults import Faults
from careforall_testing.simulation.invariants import check
from careforall_testing.simulation.scheduler import Violation
from careforall_testing.simulation.variants import CORRECT, Protocol
from careforall_testing.simulation.world import NotAtRest, World

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run. `digest` is the same whenever the same seed runs."""

    seed: int
    steps: int
    seconds: float
    donations: int
    events: int
    digest: str
    failure: str = ""
    last_events: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.failure:
            return f"seed {self.seed}: {self.steps} steps, {self.donations} donations, {self.events} events, all promises kept"
        return "\n".join([f"seed {self.seed} fails at step {self.steps}: {self.failure}", *self.last_events])


def run(seed: int, steps: int, *, protocol: Protocol = CORRECT, faults: Faults | None = None) -> Report:
    """Run one seed and report; nothing but a wrong promise or a defect of the simulation ends it early."""
    started = time.perf_counter()
    world = World(seed, protocol, faults or Faults())
    failure = ""
    try:
        world.run(steps)
        world.rest()
        check(world)
    except NotAtRest as restless:
        failure = _anonymous(f"{restless}; {_first_wrong(world)}")
    except Violation as violation:
        failure = _anonymous(str(violation))
    return Report(
        seed=seed,
        steps=world.scheduler.step,
        seconds=time.perf_counter() - started,
        donations=len(world.giving.donations.rows),
        events=len(world.giving.outbox.rows.rows) + len(world.paying.outbox.rows.rows),
        digest=_digest(world),
        failure=failure,
        last_events=_last_events(world) if failure else (),
    )


def _first_wrong(world: World) -> str:
    """Name the broken promise because of which there is no rest."""
    try:
        check(world)
    except Violation as violation:
        return str(violation)
    return "nothing is wrong yet"


def _last_events(world: World) -> tuple[str, ...]:
    told = (f"{step:>8}  {who:<26} {what} {detail or ''}".rstrip() for step, who, what, detail in world.scheduler.events)
    return tuple(_anonymous("\n".join(told)).splitlines())


def _anonymous(text: str) -> str:
    """Write #1, #2... for ids, which are new in every run."""
    names: dict[str, str] = {}
    return _UUID.sub(lambda found: names.setdefault(found[0], f"#{len(names) + 1}"), text)


def _digest(world: World) -> str:
    donations = [
        (one.donor_name, one.status, one.version, str(one.refunded_amount)) for one in world.giving.donations.rows.values()
    ]
    end = (world.scheduler.step, world.scheduler.now, world.scheduler.random.random(), donations)
    return hashlib.sha256(repr(end).encode()).hexdigest()[:16]
