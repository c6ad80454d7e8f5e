"""Logs of a process: one JSON object a line, whoever wrote it."""

import json
import subprocess
import sys
from typing import Any

import pytest

PROGRAM = """
import logging, structlog
from careforall.kit import context, logs

logs.configure("donations")
context.enter(context.Cause(correlation_id="c1", traceparent="00-{trace}-{span}-01"))
try:
    raise ValueError('it says "no"')
except ValueError:
    {words}
"""
LINES = {
    "ours": 'structlog.get_logger().exception("it failed", what="this")',
    "a library's": """logging.getLogger("library").exception('it "%s"\\nagain', "failed")""",
}


def written(words: str) -> list[dict[str, Any]]:
    """What a process writes, line by line; of its own, since loggers are set up once in each."""
    program = PROGRAM.format(words=words, trace="a" * 32, span="b" * 16)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("words", LINES.values(), ids=LINES)
def test_a_failure_is_one_object_with_its_traceback_and_ids(words: str) -> None:
    (line,) = written(words)
    ids = (line["correlation_id"], line["trace_id"], line["span_id"])
    assert (line["level"], line["service"], ids) == ("error", "donations", ("c1", "a" * 32, "b" * 16))
    assert line["timestamp"].endswith("Z")
    assert line["exception"].endswith('ValueError: it says "no"')


def test_a_librarys_line_names_the_library() -> None:
    (line,) = written(LINES["a library's"])
    assert (line["logger"], line["message"]) == ("library", 'it "failed"\nagain')
