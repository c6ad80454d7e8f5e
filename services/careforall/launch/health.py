"""Asks a running platform how it is."""

from __future__ import annotations

import http.client
import json
from collections.abc import Sequence
from typing import Any

from careforall.launch.ports import LOOPBACK

READY, DEGRADED, DOWN = "ready", "degraded", "down"
BADNESS = (READY, DEGRADED, DOWN)
GOOD_WORDS = {"ready", "ok", "healthy", "up", "pass"}
BAD_WORDS = {"down", "unhealthy", "unready", "fail", "error"}


def get(port: int, path: str, *, timeout_s: float = 5) -> tuple[int, Any]:
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


def is_ready(port: int, *, timeout_s: float = 2) -> bool:
    """Whether `/readyz` says so."""
    return get(port, "/readyz", timeout_s=timeout_s)[0] == http.client.OK


def service_states(port: int, others: Sequence[int], known: Sequence[str]) -> dict[str, str]:
    """The state of each service, as ``ready``, ``degraded`` or ``down``.

    Args:
        port: the public port; when nothing is ready there, everything is down.
        others: ports of the processes in the background; one that is not ready degrades every service.
        known: names to use while nobody tells them.
    """
    if not port or not is_ready(port):
        return dict.fromkeys(known, DOWN)
    states = _told(port, known)
    for other in others:
        behind = _told(other, list(states)) if is_ready(other) else dict.fromkeys(states, DEGRADED)
        states = {name: max(state, behind.get(name, READY), key=BADNESS.index) for name, state in states.items()}
    return states


def _told(port: int, known: Sequence[str]) -> dict[str, str]:
    status, body = get(port, "/health")
    overall = _word(body, READY if status == http.client.OK else DEGRADED)
    told = body.get("services") if isinstance(body, dict) else None
    if not isinstance(told, dict) or not told:
        return dict.fromkeys(known, overall)
    return {str(name): _word(value, overall) for name, value in told.items()}


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
