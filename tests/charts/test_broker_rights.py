"""Who may say what to the broker: the chart allows every event and every question of the code, and nothing that is another's."""

from __future__ import annotations

import functools
import importlib
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator
from types import ModuleType

import pytest

from careforall import contracts
from careforall.cli.registry import NAMES
from careforall_testing import reading
from careforall_testing.charts import ROOT, rendered

_USER = re.compile(r"user: (\S+)\n.*\n\s+permissions \{\n\s+publish \{ allow: \[([^]]*)\]")
_SERVICES = ROOT / "services" / "careforall"


def rights() -> dict[str, list[str]]:
    """What each user may publish on, from the rendered settings of the server."""
    return {user: re.findall(r'"([^"]+)"', subjects) for user, subjects in _USER.findall(rendered("local"))}


def allowed(subject: str, patterns: list[str]) -> bool:
    return any(subject == one or (one.endswith(".>") and subject.startswith(one[:-1])) for one in patterns)


def said() -> dict[str, set[str]]:
    """The subjects of each service's own events."""
    found: dict[str, set[str]] = defaultdict(set)
    for kind in reading.events():
        found[reading.stream_of(kind.SUBJECT).lower()].add(kind.SUBJECT)
    return found


@functools.cache
def asked() -> dict[str, set[str]]:
    """The questions that change something, by the service whose code names them; their owner answers them only."""
    found: dict[str, set[str]] = defaultdict(set)
    for owner, name, subject in questions():
        named = re.compile(rf"\b{owner}\.{name}\b|contracts\.{owner} import [^\n]*\b{name}\b")
        for service in NAMES:
            if service != owner and named.search(source(service)):
                found[service].add(subject)
    return found


def questions() -> Iterator[tuple[str, str, str]]:
    """The owner, the name and the subject of each question that changes something."""
    for module in modules():
        for name, subject in vars(module).items():
            if isinstance(subject, str) and subject.startswith("ask."):
                yield module.__name__.rpartition(".")[2], name, subject


def modules() -> list[ModuleType]:
    return [importlib.import_module(f"{contracts.__name__}.{one.name}") for one in pkgutil.iter_modules(contracts.__path__)]


@functools.cache
def source(service: str) -> str:
    """All code of a service."""
    return "\n".join(file.read_text() for file in sorted((_SERVICES / service).rglob("*.py")))


@pytest.mark.parametrize("service", sorted(said()))
def test_a_service_may_say_its_own_events(service: str) -> None:
    refused = [subject for subject in said()[service] if not allowed(subject, rights()[service])]
    assert not refused


@pytest.mark.parametrize("service", sorted(said()))
def test_a_service_may_not_say_the_events_of_others(service: str) -> None:
    others = [subject for other, subjects in said().items() if other != service for subject in subjects]
    assert others
    assert not [subject for subject in others if allowed(subject, rights()[service])]


def test_questions_are_found_in_the_code() -> None:
    assert {"carts", "orders"} <= set(asked())


@pytest.mark.parametrize("service", NAMES)
def test_a_service_may_ask_what_its_code_asks_and_nothing_else(service: str) -> None:
    subjects = [one for one in rights()[service] if one.startswith("ask.")]
    wanted = asked().get(service, set())
    assert not [subject for subject in wanted if not allowed(subject, subjects)]
    assert not [pattern for pattern in subjects if not any(allowed(subject, [pattern]) for subject in wanted)]
