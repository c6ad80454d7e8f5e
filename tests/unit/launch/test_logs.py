"""Choosing and reading logs."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

import pytest

from careforall.launch.errors import UsageError
from careforall.launch.logs import choose, curb, follow, last_lines


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / f"{name}.log" for name in ("api", "nats", "consumers")}
    made["api"].write_text(json.dumps({"service": "donations", "event": "one"}) + "\nplain\n")
    made["consumers"].write_text(json.dumps({"service": "payments", "event": "two"}) + "\n")
    made["nats"].write_text("ready\n")
    return made


def test_all_lines_carry_the_name_of_their_process(files: dict[str, Path]) -> None:
    chosen, keep = choose(files, None)
    assert [name for name, _ in last_lines(chosen, keep)] == ["api", "api", "nats", "consumers"]


def test_a_process_is_chosen_by_its_file(files: dict[str, Path]) -> None:
    assert list(last_lines(*choose(files, "nats"))) == [("nats", "ready")]


def test_a_service_is_chosen_by_its_lines(files: dict[str, Path]) -> None:
    lines = list(last_lines(*choose(files, "payments", ["donations", "payments"])))
    assert [(name, json.loads(line)["event"]) for name, line in lines] == [("consumers", "two")]


def test_only_the_last_lines_are_shown(files: dict[str, Path]) -> None:
    files["nats"].write_text("".join(f"{number}\n" for number in range(10)))
    assert [line for _, line in last_lines({"nats": files["nats"]}, lambda _: True, count=2)] == ["8", "9"]


def test_new_lines_follow_once_they_are_complete(files: dict[str, Path]) -> None:
    stream = follow(*choose(files, "nats"))
    assert next(stream) == ("nats", "ready")
    with files["nats"].open("a") as log:
        log.write("first\nsec")
        log.flush()
        assert next(stream) == ("nats", "first")
        log.write("ond\nthird\n")
        log.flush()
        assert list(islice(stream, 2)) == [("nats", "second"), ("nats", "third")]
    stream.close()


def test_a_log_that_grew_too_large_is_moved_beside_and_followed_on(files: dict[str, Path]) -> None:
    log = files["nats"]
    with log.open("a") as writer:
        stream = follow({"nats": log}, lambda _: True)
        assert next(stream) == ("nats", "ready")
        curb(files.values(), largest=2000)
        assert log.read_text() == "ready\n"
        writer.write("x" * 3000 + "\n")
        writer.flush()
        assert len(next(stream)[1]) == 3000
        curb(files.values(), largest=2000)
        writer.write("on\n")
        writer.flush()
        assert next(stream) == ("nats", "on")
        stream.close()
    assert log.read_text() == "on\n"
    assert len((log.parent / "nats.log.1").read_text()) == 3007
    assert files["api"].stat().st_size > 0


def test_an_unknown_name_is_wrong_usage(files: dict[str, Path]) -> None:
    with pytest.raises(UsageError, match="'donatoins'; there are: api, nats, consumers, donations"):
        choose(files, "donatoins", ["donations"])


def test_lines_of_no_one_service_are_chosen_too(files: dict[str, Path]) -> None:
    files["api"].write_text(json.dumps({"service": "platform"}) + "\n")
    assert [name for name, _ in last_lines(*choose(files, "platform", ["donations"]))] == ["api"]


def test_an_unknown_name_is_wrong_usage_when_nothing_ran(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="none yet"):
        choose({}, "donations")
    assert list(tmp_path.iterdir()) == []
