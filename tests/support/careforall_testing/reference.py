"""Makes the reference pages out of the code, so that they cannot drift from it: `tests/unit/docs` compares them with the files.

Run this module to write them anew (see REGENERATE).
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from careforall.cli.openapi import document
from careforall.kit.envelope import Envelope
from careforall.kit.http.problems import catalogue
from careforall.kit.settings import Settings
from careforall_testing import reading
from careforall_testing.reading import Field
from careforall_testing.reference_operator import custom_resources

ROOT = Path(__file__).parents[3]
REGENERATE = "PYTHONPATH=services:operator:tests/support .venv/bin/python -m careforall_testing.reference"
_MADE = "<!-- Made from the code: change it there, then write this page anew (see CONTRIBUTING.md). -->"
_SETTING = ("variable", "default", "meaning")
_PROCESS = (
    Field("host", "127.0.0.1", "Address to listen on."),
    Field("port", "8000", "Port of the public listener."),
    Field("internal_port", "0", "Port of the internal listener; 0 opens none."),
    Field("crash_at", "", "For tests only: kill the process at a named point, such as `relay.after_claim:3`."),
)

_CONFIGURATION = """
Settings are read once, at the start, from the environment: `CAREFORALL_<FIELD>` sets a field for every service,
`CAREFORALL_<SERVICE>_<FIELD>` for one. A variable named `<NAME>_FILE` gives the path of a file that holds the value
(a mounted secret). A missing or unreadable value stops the start with a message that names it. `./careforall up` sets
addresses and secrets by itself; elsewhere [.env.example](../../.env.example) is a file to start from.
"""
_METRICS = """
`GET /metrics` of every process answers in the text format of Prometheus. Counters count from the start of the process;
gauges about queues, pools and dead letters are looked at every two seconds.
"""
_EVENTS = """
Services tell each other what happened over NATS JetStream. A message is one JSON envelope whose `payload` is the event.
Amounts are absolute and are decimal strings. Delivery may repeat, come late or out of order: key effects by `event_id`,
keep state only from a newer `aggregate_version`, ignore unknown fields. The header `Nats-Msg-Id` is the `event_id`; in a
trace, `traceparent` in the header is that of the sending, in the envelope that of what caused the event.
"""
_COMMANDS = """
`./careforall COMMAND` prepares the clone and runs the command; inside an image the program is `careforall`. Exit status:
0 good, 1 the check failed, 2 wrong usage, 3 something is missing on this machine. `--help` after any command tells the
same.
"""
_PROBLEMS = """
A refused request is answered with `application/problem+json` (RFC 9457). Decide by `code`, which never changes its
meaning; show `detail` to people. `errors` lists fields at fault with a JSON pointer, a code (`required_field`,
`unknown_field`, `invalid_value` or a narrower one) and a message. `retryable` is true where the same request may
succeed later; `request_id` finds it in the log. A running platform shows this list at `/docs/problems`.
"""
_SERVICES = """
One folder each under `careforall/`, one database each, one distribution and one image for all. `contracts` holds what
services say to each other, `kit` the plumbing they stand on, `cli` the commands, `launch` what `./careforall up` does.
Services import `contracts` and `kit`, never each other; nobody reads the tables of another.
"""
_PLUMBING = """
Every database also has the tables of the kit: `outbox`, `relay_state`, `inbox`, `message_failures`, `dead_letters`,
`idempotency_keys`. A service with a stream also says `<service>.admin_action` when staff use an operations endpoint.
[docs/reference/events.md](../docs/reference/events.md) describes the events,
[docs/how-to/add-a-service.md](../docs/how-to/add-a-service.md) how to add a service.
"""


def configuration() -> str:
    """Describe every setting."""
    parts = [
        _MADE,
        "# Configuration",
        _CONFIGURATION,
        "## The process (`careforall serve`)",
        _settings(_PROCESS),
        "## Every service",
        _settings(reading.fields_of(Settings)),
    ]
    shared = {field.name for field in reading.fields_of(Settings)}
    for service in reading.services():
        own = [field for field in reading.fields_of(reading.settings_of(service)) if field.name not in shared]
        parts += [f"## {service}", _settings(own)] if own else []
    return _page(parts)


def metrics() -> str:
    """Describe every Prometheus metric."""
    rows = [(f"`{found.name}`", found.kind, _codes(found.labels), found.meaning) for found in reading.metrics()]
    return _page([_MADE, "# Metrics", _METRICS, _table(("name", "type", "labels", "meaning"), rows)])


def events() -> str:
    """Describe every event between services: who hears it and what it carries."""
    parts = [
        _MADE,
        "# Events",
        _EVENTS,
        "## Envelope",
        _table(
            ("field", "required"), [(f"`{field.name}`", _yes(field.default is None)) for field in reading.fields_of(Envelope)]
        ),
    ]
    stream = ""
    for kind in reading.events():
        if (here := reading.stream_of(kind.SUBJECT)) != stream:
            stream = here
            parts.append(f"## Stream {stream}")
        carried = _codes(field.name for field in msgspec.structs.fields(kind))
        parts += [
            f"### {kind.SUBJECT}",
            _sentence(kind),
            f"Version {kind.VERSION}. Heard by: {_hearers(kind.SUBJECT)}. Carries {carried}.",
        ]
    return _page(parts)


def commands() -> str:
    """Describe every command."""
    parts = [
        _MADE,
        "# Command line",
        _COMMANDS,
    ]
    for command in reading.commands():
        rows = [(f"`{option.name}`", _code(option.default), option.meaning) for option in command.options]
        parts += [
            f"## {command.words}",
            _prose(command.meaning),
            *([_table(("option", "default", "meaning"), rows)] if rows else []),
        ]
    return _page(parts)


def problems() -> str:
    """Describe every refusal."""
    for module in ("kit.bus", *(f"{service}.errors" for service in reading.services())):
        importlib.import_module(f"careforall.{module}")
    rows = [(f"`{entry.code}`", str(entry.status), entry.meaning, entry.advice) for entry in catalogue()]
    return _page([_MADE, "# Problems", _PROBLEMS, _table(("code", "status", "meaning", "what to do"), rows)])


def service_map() -> str:
    """Describe what each service owns, hears and says."""
    rows = [
        (f"[{name}](careforall/{name})", found.owns, _codes(found.tables), _codes(found.heard), _codes(found.said))
        for name, found in reading.facts().items()
    ]
    return _page(
        [_MADE, "# Services", _SERVICES, _table(("service", "owns", "tables", "events in", "events out"), rows), _PLUMBING]
    )


def example_environment() -> str:
    """Write a file of variables to start from."""
    lines = ["# Settings of every service; docs/reference/configuration.md has all of them. What has a default is commented out."]
    for field in reading.fields_of(Settings):
        if field.name == "database_url":
            continue
        given = "" if field.default is None else "#"
        lines += ["", *([f"# {field.meaning}"] if field.meaning else []), f"{given}{_variable(field.name)}={field.default or ''}"]
    return "\n".join(lines) + "\n"


def api_description() -> str:
    """The description of the HTTP API, so that a change of it shows in review."""
    return document() + "\n"


PAGES: dict[str, Callable[[], str]] = {
    "docs/reference/configuration.md": configuration,
    "docs/reference/metrics.md": metrics,
    "docs/reference/events.md": events,
    "docs/reference/cli.md": commands,
    "docs/reference/problems.md": problems,
    "docs/reference/custom-resources.md": custom_resources,
    "services/README.md": service_map,
    ".env.example": example_environment,
    "docs/reference/openapi.json": api_description,
}
"""Every generated file, by its path in the repository, with what makes it."""


def write() -> None:
    """Write every page."""
    for path, make in PAGES.items():
        (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
        (ROOT / path).write_text(make())


def _settings(fields: Iterable[Field]) -> str:
    rows = [
        (f"`{_variable(field.name)}`", "required" if field.default is None else _code(field.default), field.meaning)
        for field in fields
    ]
    return _table(_SETTING, rows)


def _hearers(subject: str) -> str:
    found = [name for name, facts in reading.facts().items() if any(_hears(heard, subject) for heard in facts.heard)]
    return ", ".join(found) or "nobody yet"


def _hears(pattern: str, subject: str) -> bool:
    return pattern == subject or (pattern.endswith(">") and subject.startswith(pattern[:-1]))


def _page(parts: Iterable[str]) -> str:
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(_cell(text) for text in line) + " |" for line in lines)


def _cell(text: str) -> str:
    return _prose(" ".join(text.replace("|", "\\|").split()))


def _prose(text: str) -> str:
    """Keep angle brackets outside of code from being read as HTML."""
    return "`".join(part if odd % 2 else part.replace("<", "&lt;") for odd, part in enumerate(text.split("`")))


def _variable(field: str) -> str:
    return "CAREFORALL_<SERVICE>_DATABASE_URL" if field == "database_url" else f"CAREFORALL_{field.upper()}"


def _sentence(kind: type) -> str:
    return " ".join((inspect.getdoc(kind) or "").split())


def _codes(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _code(word: str) -> str:
    return word if word in {"", "required"} else f"`{word}`"


def _yes(value: bool) -> str:
    return "yes" if value else "no"


if __name__ == "__main__":
    write()
