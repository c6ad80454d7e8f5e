"""Asks a running platform how it is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from careforall.launch.ports import LOOPBACK

READY, DEGRADED, DOWN = "ready", "degraded", "down"
BADNESS = (READY, DEGRADED, DOWN)
NEEDED = ("database", "broker", "cache")
GOOD_WORDS = {"ready", "ok", "healthy", "up", "pass"}
BAD_WORDS = {"down", "unhealthy", "unready", "fail", "error"}
PATIENCE_S = 15
"""How long to wait for an answer: a process that works off what has queued up gives it late, and works all the same."""


def get(port: int, path: str, *, timeout_s: float = PATIENCE_S) -> tuple[int, Any]:
    """Ask over HTTP; status 0 when nobody answered, None for a body that is no JSON."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, _json(answer.read())
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def is_ready(port: int, *, timeout_s: float = PATIENCE_S) -> bool:
    """Whether `/readyz` says so."""
    return get(port, "/readyz", timeout_s=timeout_s)[0] == http.client.OK


@dataclass(frozen=True)
class ServiceState:
    """The state of a service, as ``ready``, ``degraded`` or ``down``, and what there is to say about it."""

    word: str
    notes: tuple[str, ...] = ()


def service_states(processes: Mapping[str, int], known: Sequence[str]) -> dict[str, ServiceState]:
    """The state of each service: the worst that any process says, with what each says of it.

    Args:
        processes: their ports by name, first the one that answers the public; when that is not ready, everything is down. One in
            the background that is not ready degrades every service.
        known: names to use while nobody tells them.
    """
    (first, port), *others = processes.items()
    if not port or not is_ready(port):
        return dict.fromkeys(known, ServiceState(DOWN))
    told = {first: _told(port, known)}
    unready = dict.fromkeys(told[first], ServiceState(DEGRADED, ("not ready",)))
    for name, other in others:
        told[name] = _told(other, list(unready)) if is_ready(other) else unready
    return {
        service: _together({name: said.get(service, ServiceState(READY)) for name, said in told.items()}) for service in unready
    }


def _together(told: Mapping[str, ServiceState]) -> ServiceState:
    """One state of what several processes say; a note names its processes unless all say it."""
    found: dict[str, list[str]] = {}
    for process, state in told.items():
        for note in state.notes:
            found.setdefault(note, []).append(process)
    notes = (note if len(names) == len(told) else f"{note} ({', '.join(names)})" for note, names in found.items())
    return ServiceState(max((state.word for state in told.values()), key=BADNESS.index), tuple(notes))


def _told(port: int, known: Sequence[str]) -> dict[str, ServiceState]:
    status, body = get(port, "/health")
    overall = _word(body, READY if status == http.client.OK else DEGRADED)
    told = body.get("services") if isinstance(body, dict) else None
    if not isinstance(told, dict) or not told:
        return dict.fromkeys(known, ServiceState(overall))
    return {str(name): ServiceState(_word(value, overall), _notes(value)) for name, value in told.items()}


def _notes(value: Any) -> tuple[str, ...]:
    if not isinstance(value, dict):
        return ()
    lost = (f"{part} down" for part in NEEDED if value.get(part) == DOWN)
    return (*lost, *(f"{subject} {words}" for subject, words in (value.get("notes") or {}).items()))


def first_campaign(port: int) -> str | None:
    """The id of a campaign that takes gifts, for an example that works as printed; None when there is none yet."""
    _, body = get(port, "/api/v1/campaigns?status=LIVE&limit=1")
    items = body.get("items") if isinstance(body, dict) else None
    return str(items[0].get("id")) if items and isinstance(items[0], dict) else None


def _word(value: Any, otherwise: str) -> str:
    found = value.get("status", value.get("state")) if isinstance(value, dict) else value
    word = str(found).lower()
    if word in GOOD_WORDS:
        return READY
    if word in BAD_WORDS:
        return DOWN
    return DEGRADED if word.startswith("degraded") else otherwise


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return None
