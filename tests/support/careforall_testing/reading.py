"""Facts read out of the code for the reference pages (see `reference`): settings, events, metrics, commands, services."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import pkgutil
import re
import warnings
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin

import msgspec
import typer
from prometheus_client.metrics import MetricWrapperBase

from careforall import contracts
from careforall.cli import COMMANDS, build
from careforall.cli.registry import NAMES, chosen, with_settings
from careforall.contracts import streams
from careforall.kit.envelope import Event
from careforall.kit.http.description import field_docstrings
from careforall.kit.runtime import Process
from careforall.kit.settings import Settings

_TABLE = re.compile(r"^CREATE (?:TABLE|(MATERIALIZED) VIEW)(?: IF NOT EXISTS)? (\w+)", re.MULTILINE)
_DROPPED = re.compile(r"^DROP (?:TABLE|MATERIALIZED VIEW)(?: IF EXISTS)? (\w+)", re.MULTILINE)
_OFFLINE = {
    "CAREFORALL_POSTGRES_URL": "postgresql://nobody@127.0.0.1:1",
    "CAREFORALL_SECRET_KEY": "only for reading the code " * 2,
    "CAREFORALL_ENVIRONMENT": "development",
}


class Field(NamedTuple):
    """A field of a Struct: `default` is None where a value is required."""

    name: str
    default: str | None
    meaning: str


class Metric(NamedTuple):
    """A Prometheus metric under the name people query."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str


class Option(NamedTuple):
    """An option or argument of a command."""

    name: str
    default: str
    meaning: str


class Command(NamedTuple):
    """A command with its words, such as `careforall relay replay`."""

    words: str
    meaning: str
    options: tuple[Option, ...]


class ServiceFacts(NamedTuple):
    """What a service owns, hears and says."""

    owns: str
    tables: tuple[str, ...]
    heard: tuple[str, ...]
    said: tuple[str, ...]


def services() -> list[str]:
    """Return the services of this release."""
    return [name for name in NAMES if _has_app(name)]


def settings_of(service: str) -> type[Settings]:
    """Return the settings class of a service."""
    module = importlib.import_module(f"careforall.{service}.settings")
    own = [value for value in vars(module).values() if isinstance(value, type) and issubclass(value, Settings)]
    return max(own, key=lambda kind: len(kind.__mro__))


def fields_of(kind: type[msgspec.Struct]) -> list[Field]:
    """Return the fields of a Struct with the docstrings that follow them in its source, inherited ones included."""
    meanings = field_docstrings(kind)
    return [
        Field(field.name, _default(field), f"{_choices(field.type)}{meanings.get(field.name, '')}".strip())
        for field in msgspec.structs.fields(kind)
    ]


def events() -> list[type[Event]]:
    """Return the event types of the contracts, by subject."""
    found: dict[str, type[Event]] = {}
    for module in pkgutil.iter_modules(contracts.__path__):
        for value in vars(importlib.import_module(f"careforall.contracts.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, Event) and value.SUBJECT:
                found[value.SUBJECT] = value
    return [found[subject] for subject in sorted(found)]


def stream_of(subject: str) -> str:
    """Return the name of the stream that keeps a subject."""
    return next(stream.name for stream in streams.ALL if _kept(subject, stream.subjects))


def metrics() -> list[Metric]:
    """Return the metrics of the kit and the services, by name."""
    modules = ["careforall.kit.metrics", *(f"careforall.{service}.metrics" for service in services())]
    found = {metric(value) for name in modules if importlib.util.find_spec(name) for value in _metrics_in(name)}
    return sorted(found)


def metric(found: MetricWrapperBase) -> Metric:
    """Return a metric as people query it."""
    (family,) = found.describe()
    name = f"{family.name}_total" if family.type == "counter" else family.name
    labels = tuple(found._labelnames)  # noqa: SLF001 - the library has no public way to ask
    return Metric(name, family.type, labels, family.documentation)


def commands() -> Iterator[Command]:
    """Yield the commands of this release, in the order of `--help`."""
    for command in COMMANDS:
        if importlib.util.find_spec(command.target.partition(":")[0]):
            group: Any = typer.main.get_command(build([command.name]))
            yield from _commands(f"careforall {command.name}", group.commands[command.name])


@cache
def facts() -> dict[str, ServiceFacts]:
    """Build every service without opening anything, and return what each owns, hears and says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the framework thinks of our handlers is judged where they are tested
        return asyncio.run(_facts())


async def _facts() -> dict[str, ServiceFacts]:
    pairs = with_settings(chosen(services()), _OFFLINE)
    process = Process(pairs, streams.ALL, ("api",))
    process.describe()
    found = {}
    for definition, _ in pairs:
        kept = definition.stream.subjects if definition.stream else ()
        consumers = process.parts[definition.name].consumers
        found[definition.name] = ServiceFacts(
            owns=_owns(definition.package),
            tables=_tables(definition.package),
            heard=tuple(sorted({subject for consumer in consumers for subject in consumer.filters()})),
            said=tuple(event.SUBJECT for event in events() if _kept(event.SUBJECT, kept)),
        )
    return found


def _has_app(service: str) -> bool:
    return bool(importlib.util.find_spec(f"careforall.{service}") and importlib.util.find_spec(f"careforall.{service}.app"))


def _choices(kind: object) -> str:
    words = [f"`{word}`" for word in get_args(kind)] if get_origin(kind) is Literal else []
    return f"One of {', '.join(words)}. " if words else ""


def _default(field: Any) -> str | None:
    if field.default is not msgspec.NODEFAULT:
        return _word(field.default)
    if field.default_factory is not msgspec.NODEFAULT:
        return _word(field.default_factory())
    return None


def _word(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _kept(subject: str, patterns: tuple[str, ...]) -> bool:
    return any(subject == pattern or (pattern.endswith(">") and subject.startswith(pattern[:-1])) for pattern in patterns)


def _metrics_in(module: str) -> list[MetricWrapperBase]:
    return [value for value in vars(importlib.import_module(module)).values() if isinstance(value, MetricWrapperBase)]


def _commands(words: str, found: Any) -> Iterator[Command]:
    below = getattr(found, "commands", {})
    for name, command in below.items():
        yield from _commands(f"{words} {name}", command)
    if not below:
        yield Command(words, found.help or "", tuple(_option(option) for option in found.params))


def _option(option: Any) -> Option:
    is_argument = option.param_type_name == "argument"
    name = option.name.upper() if is_argument else ", ".join([*option.opts, *option.secondary_opts])
    default = "required" if option.required else "" if callable(option.default) else _word(option.default)
    variable = f" Also by {option.envvar}." if option.envvar else ""
    return Option(name, default, f"{option.help or ''}{variable}")


def _owns(package: str) -> str:
    """Return what the first sentence of the service's docstring says after its name."""
    text = " ".join((importlib.import_module(package).__doc__ or "").split())
    return text.partition(": ")[2].partition(". ")[0].removeprefix("owns ")


def _tables(package: str) -> tuple[str, ...]:
    folder = Path(importlib.import_module(package).__path__[0]) / "migrations"
    sql = "\n".join(path.read_text() for path in sorted(folder.glob("*.sql")))
    dropped = set(_DROPPED.findall(sql))
    found = [f"{name} (view)" if view else name for view, name in _TABLE.findall(sql) if name not in dropped]
    return tuple(dict.fromkeys(found))
