"""The table of scenarios: typed, checked, and in step with the API it loads."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from careforall_load import visit
from careforall_load.report import Played, Told, judge
from careforall_load.table import Limit, Profile, Scenario, Stage, Step, Table, read

ROOT = Path(__file__).parents[3]
TABLE = read()
OPENAPI = json.loads((ROOT / "docs/reference/openapi.json").read_text())["paths"]


@pytest.mark.parametrize("name", list(TABLE.steps()))
def test_every_step_speaks_to_a_route_that_exists(name: str) -> None:
    step = TABLE.steps()[name]
    path = step.path.partition("?")[0]
    shape = re.sub(r"{{\w+}}", "[^/]+", path)
    known = [route for route, methods in OPENAPI.items() if step.method.lower() in methods]
    assert any(re.fullmatch(shape, route) for route in known), f"{step.method} {path} is in no route of the platform"


@pytest.mark.parametrize("name", list(TABLE.scenarios))
def test_a_visit_has_every_value_that_its_steps_need(name: str) -> None:
    values = visit.begin(TABLE, run="run", visit=7, lists={"campaign": ["c-1"], "product": ["p-1"]}, chance=random.Random(7))
    for step in TABLE.scenarios[name].steps:
        request = visit.filled(step, values, "secret")
        assert "{{" not in request.path + (request.body or "") + json.dumps(request.headers)
        values |= {kept: f"<{kept}>" for kept in step.keep}
        assert "{{" not in json.dumps(visit.promised(step, values))


@pytest.mark.parametrize(
    ("played", "asked"), [(["give"], ["campaign"]), (["browse", "buy"], ["product"]), (["fill", "look"], None)]
)
def test_only_what_is_played_is_looked_up(played: list[str], asked: list[str] | None) -> None:
    found = TABLE.only(played)
    assert [lookup.value for lookup in found.before] == (asked or ["campaign", "product"])
    assert list(found.scenarios) == played


def test_every_step_that_is_judged_has_limits_and_the_shop_is_walked_to_its_end() -> None:
    assert [name for name, step in TABLE.steps().items() if step.limit is None] == []
    assert [step.name for step in TABLE.scenarios["buy"].steps][-4:] == ["add", "checkout", "pay", "order"]
    assert TABLE.steps()["buy/pay"].promises is not None


def test_an_unknown_word_is_refused(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("scenarios: {look: {about: x, wieght: 1, steps: []}}\nprofiles: {}\n")
    with pytest.raises(msgspec.ValidationError, match="wieght"):
        read(wrong)


def test_a_value_that_nothing_gives_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        visit.filled(Step(name="x", method="GET", path="/{{nobody}}", expect=[200]), {}, "")


def test_a_signed_body_is_signed_as_it_is_sent() -> None:
    step = Step(name="x", method="POST", path="/", expect=[200], body={"a": ["{{b}}"], "n": 1}, signed=True)
    request = visit.filled(step, {"b": "c"}, "secret")
    assert request.body == '{"a":["c"],"n":1}'
    assert request.headers["X-Signature"] == "sha256=9472edb154337f1c63dd761f45f45a997755147e0cc620b37842f514c68bef0a"


@pytest.mark.parametrize(("at", "rate"), [(0, 0), (5, 25), (10, 50), (15, 50), (19.99, 50), (20, None), (99, None)])
def test_a_profile_goes_in_straight_lines(at: float, rate: float | None) -> None:
    profile = Profile(about="", failures=0, stages=[Stage(seconds=10, rate=50), Stage(seconds=10, rate=50)])
    assert profile.rate(at) == (None if rate is None else pytest.approx(rate))


def test_a_list_without_a_match_says_what_to_do() -> None:
    lookup = TABLE.before[0]
    assert visit.listed(lookup, {"items": [{"id": 1, "status": "LIVE", "currency": "EUR"}, {"id": 2, "status": "ENDED"}]}) == [
        "1"
    ]
    with pytest.raises(LookupError, match="demo data"):
        visit.listed(lookup, {"items": []})


STEP = Step(name="step", method="GET", path="/", expect=[200], limit=Limit(p95=100, p99=200))
PLAYED = Played(
    tool="k6", seconds=1, visits=1, dropped=0, steps={"one/step": Told(requests=100, failed=0, p50=1, p95=99, p99=199)}
)


def crossed(*, limits: bool = True, failures: float = 0.01, **changes: Any) -> list[str]:
    """What a run crossed in which something was otherwise."""
    profile = Profile(about="", failures=failures, limits=limits, stages=[Stage(seconds=1, rate=1)])
    table = Table(scenarios={"one": Scenario(about="", weight=1, steps=[STEP])}, profiles={"x": profile})
    step = {name: value for name, value in changes.items() if name in Told.__struct_fields__}
    rest = {name: value for name, value in changes.items() if name not in step}
    steps = {"one/step": msgspec.structs.replace(PLAYED.steps["one/step"], **step)}
    return [one.what for one in judge(table, profile, msgspec.structs.replace(PLAYED, steps=steps, **rest))]


def test_limits_are_judged() -> None:
    assert crossed() == []
    assert crossed(p95=101) == ["one/step p95"]
    assert crossed(p99=201) == ["one/step p99"]
    assert crossed(p99=201, limits=False) == []
    assert crossed(failed=2) == ["failed requests, share"]
    assert crossed(failed=2, failures=0.02) == []
    assert crossed(dropped=1) == ["visits that never began"]
    assert crossed(dropped=1, limits=False) == []


def test_a_run_without_a_request_is_not_good() -> None:
    assert crossed(requests=0) == ["failed requests, share"]
