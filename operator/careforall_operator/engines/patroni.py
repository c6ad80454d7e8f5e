"""Patroni with its state in ConfigMaps: the leader's lock, the synchronous standbys, the history, and a note on each pod."""

import json
import time
from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any

import httpx2

from careforall_operator.engines.base import EngineRefused, endpoints, usual_service, write_service
from careforall_operator.k8s import CONFIG_MAP, POD, SERVICE, Kube
from careforall_operator.models import Database
from careforall_operator.reconcile.labels import ROLE_LABEL, SCOPE_LABEL
from careforall_operator.reconcile.observed import Beat, ClusterSeen, Fork, PodRole, ServiceSeen
from careforall_operator.status import Member

_ANSWER_SECONDS = 15.0  # Patroni answers a switchover when it is done


class Patroni:
    """One Patroni cluster."""

    def __init__(self, kube: Kube) -> None:
        self._kube = kube
        self._renewed: tuple[str, float] = ("", 0.0)

    async def observe(self, database: Database, beat: Beat) -> ClusterSeen | None:  # noqa: ARG002 - others need it
        """Read lock, history and pods; None before Patroni has made its first lock."""
        lock = await self._annotations(f"{database.cluster_name}-leader")
        if not lock:
            return None
        sync = await self._annotations(f"{database.cluster_name}-sync")
        config = await self._annotations(f"{database.cluster_name}-config")
        pods = await self._kube.all(POD, **{SCOPE_LABEL: database.cluster_name})
        leader = lock.get("leader") or None
        wal_end = _number(lock.get("optime"))
        members = tuple(_member(pod, leader, wal_end, sync) for pod in pods)
        return ClusterSeen(
            leader=leader,
            leader_fresh=leader is not None and self._fresh(lock, database),
            timeline=next((member.timeline for member in members if member.name == leader), None),
            wal_end=wal_end,
            members=members,
            pods=tuple(_pod(pod) for pod in pods),
            history=_history(config.get("history")),
            write_service=await self._kept_service(database),
            endpoints=await endpoints(self._kube, write_service(database)),
            repairable=True,
        )

    async def _kept_service(self, database: Database) -> ServiceSeen | None:
        """Return the write Service where it is the chart's: of the usual name, and labelled as this cluster's."""
        usual = usual_service(database)
        if write_service(database) != usual:
            return None  # the Role allows no other, and whoever names another keeps it
        found = await self._kube.find(SERVICE, usual) or {}
        labels = (found.get("metadata") or {}).get("labels") or {}
        if labels.get(SCOPE_LABEL) != database.cluster_name:
            return None
        return ServiceSeen(name=usual, selector=found["spec"].get("selector") or {})

    def _fresh(self, lock: Mapping[str, str], database: Database) -> bool:
        """A lock lives while its renewal changes; its time is never compared with our clock."""
        renewal = lock.get("renewTime", "")
        now = time.monotonic()
        if renewal != self._renewed[0]:
            self._renewed = (renewal, now)
        return now - self._renewed[1] <= database.patroni.ttl_seconds

    async def _annotations(self, name: str) -> dict[str, str]:
        found = await self._kube.find(CONFIG_MAP, name)
        return (found or {}).get("metadata", {}).get("annotations") or {}

    async def switch(self, database: Database, leader: str, candidate: str | None) -> None:
        """Ask the leader's REST interface.

        Raises:
            EngineRefused: It said no, or could not be asked.
        """
        url = await self._address(leader)
        order = {"leader": leader, **({"candidate": candidate} if candidate else {})}
        try:
            async with httpx2.AsyncClient(timeout=_ANSWER_SECONDS) as client:
                answer = await client.post(f"{url}/switchover", json=order, headers=await self._login(database))
        except httpx2.TimeoutException:
            return  # it may well be under way: the report or the deadline will tell
        except httpx2.HTTPError as error:
            raise EngineRefused(f"Patroni of {leader} could not be asked: {error}") from error
        if answer.is_error and "unknown" not in answer.text:  # it does not know either whether it came about
            raise EngineRefused(f"Patroni says: {answer.text.strip()[:500]}")

    async def _address(self, leader: str) -> str:
        pod = await self._kube.find(POD, leader)
        url = _note(pod or {}).get("api_url")
        if not url:
            raise EngineRefused(f"{leader} does not tell where its Patroni listens")
        return str(url).removesuffix("/patroni")

    async def _login(self, database: Database) -> dict[str, str]:
        if database.rest_secret_ref is None:
            return {}
        values = await self._kube.secret(database.rest_secret_ref.name)
        words = f"{values.get('rest-username', 'patroni')}:{values.get('rest-password', '')}"
        return {"Authorization": f"Basic {b64encode(words.encode()).decode()}"}


def _note(pod: Mapping[str, Any]) -> dict[str, Any]:
    """What Patroni wrote on a pod about its member."""
    text = ((pod.get("metadata") or {}).get("annotations") or {}).get("status") or "{}"
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _member(pod: Mapping[str, Any], leader: str | None, wal_end: int | None, sync: Mapping[str, str]) -> Member:
    note = _note(pod)
    name = pod["metadata"]["name"]
    at = _number(note.get("xlog_location"))
    primary = name == leader or _claims(note)
    return Member(
        name=name,
        role="primary" if primary else "replica",
        state=str(note.get("replication_state") or note.get("state") or ""),
        timeline=_number(note.get("timeline")),
        lag_bytes=None if at is None or wal_end is None or primary else max(wal_end - at, 0),
        sync=name in (sync.get("sync_standby") or "").split(","),
    )


def _claims(note: Mapping[str, Any]) -> bool:
    return note.get("role") in {"primary", "master"} and note.get("state") == "running"


def _pod(pod: Mapping[str, Any]) -> PodRole:
    status = pod.get("status") or {}
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or [])
    role = (pod["metadata"].get("labels") or {}).get(ROLE_LABEL, "")
    return PodRole(
        name=pod["metadata"]["name"], role=role, ready=ready, address=status.get("podIP", ""), claims=_claims(_note(pod))
    )


def _history(text: str | None) -> tuple[Fork, ...]:
    """Patroni's history: [timeline, where it ended, why, when, new leader] for each timeline that ended."""
    try:
        rows: Sequence[Sequence[Any]] = json.loads(text or "[]")
        return tuple(Fork(timeline=int(row[0]), wal_end=int(row[1]), successor=next(iter(row[4:]), None)) for row in rows)
    except (ValueError, TypeError, IndexError):
        return ()


def _number(text: Any) -> int | None:
    try:
        return int(text)
    except (TypeError, ValueError):
        return None
