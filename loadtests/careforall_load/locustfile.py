"""The table played by Locust. Each user makes one visit a second, so that the number of users is the rate of visits.

Started by `careforall_load` (see `runner`), or by hand: `CAREFORALL_LOAD_FOLDER=folder locust -f locustfile.py --headless`.
"""

import itertools
import json
import os
import random
import time
from pathlib import Path
from typing import Any

import locust
import msgspec

from careforall_load import visit
from careforall_load.report import Played, Told
from careforall_load.table import Step
from careforall_load.workplace import Workplace

PLACE = Workplace(Path(os.environ["CAREFORALL_LOAD_FOLDER"]))
ORDER = PLACE.take()
NAMES = ORDER.scenarios
WEIGHTS = [ORDER.table.scenarios[name].weight for name in NAMES]
NUMBERS = itertools.count(1)
STARTED = time.monotonic()
CHANCE = random.Random()


class Stages(locust.LoadTestShape):
    """As many users as visits a second are due."""

    def tick(self) -> tuple[int, float] | None:
        """Return users and how many may come or go in a second; None at the end."""
        rate = ORDER.profile.rate(time.monotonic() - STARTED)
        return None if rate is None else (max(1, round(rate)), max(1.0, rate))


class Visitor(locust.FastHttpUser):
    """Makes visits."""

    host = ORDER.url
    wait_time = locust.constant_pacing(1)
    lists: dict[str, list[str]] = {}  # noqa: RUF012 - one for all, filled before the first visit

    def on_start(self) -> None:
        """Ask once for what visits draw from."""
        for lookup in ORDER.table.before:
            if lookup.value not in self.lists:
                answer = self.client.get(lookup.path, name="before", headers=ORDER.headers)
                self.lists[lookup.value] = visit.listed(lookup, answer.json())

    @locust.task
    def play(self) -> None:
        """Play one scenario."""
        name = CHANCE.choices(NAMES, WEIGHTS)[0]
        values = visit.begin(ORDER.table, run=ORDER.run, visit=next(NUMBERS), lists=self.lists, chance=CHANCE)
        for step in ORDER.table.scenarios[name].steps:
            answer = self._sent(f"{name}/{step.name}", step, values)
            if answer is None:
                return
            values |= visit.kept(step, answer) if step.keep else {}
            if promise := visit.promised(step, values):
                with PLACE.promises.open("a") as file:
                    file.write(json.dumps(promise) + "\n")

    def _sent(self, name: str, step: Step, values: dict[str, str]) -> Any | None:
        """Send a step until its answer counts; return the answer, or None where the visit is over."""
        request = visit.filled(step, values, ORDER.secret)
        again = step.retry.times if step.retry else 0
        while True:
            with self.client.request(
                request.method,
                request.path,
                data=request.body,
                headers={**ORDER.headers, **request.headers},
                name=name,
                catch_response=True,
            ) as answer:
                if answer.status_code in step.expect:
                    answer.success()
                    return answer.json() if answer.content else {}
                if answer.status_code in step.ends:
                    answer.success()
                    return None
                if not (step.retry and again and answer.status_code in step.retry.statuses):
                    answer.failure(f"{answer.status_code} {(answer.text or '')[:200]}")
                    return None
                answer.request_meta["name"] = f"{name} (again)"
                answer.success()
            again -= 1
            time.sleep(step.retry.seconds)


def told(environment: Any, **_: Any) -> None:
    """Write what was seen."""
    entries = {name: entry for (name, _), entry in environment.stats.entries.items()}
    steps = {name: _told(entries[name]) for name in ORDER.table.steps() if name in entries}
    firsts = [f"{name}/{ORDER.table.scenarios[name].steps[0].name}" for name in NAMES]
    played = Played(
        tool="locust",
        seconds=time.monotonic() - STARTED,
        visits=sum(steps[name].requests for name in firsts if name in steps),
        dropped=0,
        steps=steps,
    )
    PLACE.played.write_bytes(msgspec.json.encode(played))


locust.events.quitting.add_listener(told)  # type: ignore[no-untyped-call]


def _told(entry: Any) -> Told:
    p50, p95, p99 = (float(entry.get_response_time_percentile(share) or 0) for share in (0.5, 0.95, 0.99))
    return Told(requests=entry.num_requests, failed=entry.num_failures, p50=p50, p95=p95, p99=p99)
