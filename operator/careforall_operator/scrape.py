"""What services say of themselves on /metrics."""

import asyncio
from collections.abc import Iterable, Mapping

import httpx2
import msgspec
from prometheus_client.parser import text_string_to_metric_families

from careforall_operator.k8s import POD, Kube
from careforall_operator.passes.reading import SERVICE_LABEL

PORT = 8000
_ANSWER_SECONDS = 2.0
_AT_ONCE = 16


class Sample(msgspec.Struct, frozen=True):
    """One line of a page."""

    name: str
    labels: Mapping[str, str]
    value: float


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """What a pod answered; `samples` is None where it did not."""

    pod: str
    service: str
    samples: tuple[Sample, ...] | None


async def pages(kube: Kube, names: Iterable[str]) -> list[Page]:
    """Ask every running pod of every service for the metrics of these families."""
    wanted = frozenset(names)
    turn = asyncio.Semaphore(_AT_ONCE)
    async with httpx2.AsyncClient(timeout=_ANSWER_SECONDS) as client:

        async def asked(pod: Mapping[str, str]) -> Page:
            async with turn:
                return Page(pod=pod["name"], service=pod["service"], samples=await _samples(client, pod["address"], wanted))

        return await asyncio.gather(*(asked(pod) for pod in await _running(kube)))


async def _running(kube: Kube) -> list[dict[str, str]]:
    """Pods that serve; one that is being deleted is told to stop and counts no more."""
    found = await kube.all(POD, **{SERVICE_LABEL: ""})
    return [
        {
            "name": pod["metadata"]["name"],
            "service": pod["metadata"]["labels"][SERVICE_LABEL],
            "address": pod["status"]["podIP"],
        }
        for pod in found
        if (pod.get("status") or {}).get("phase") == "Running"
        and pod["status"].get("podIP")
        and not pod["metadata"].get("deletionTimestamp")
    ]


async def _samples(client: httpx2.AsyncClient, address: str, wanted: frozenset[str]) -> tuple[Sample, ...] | None:
    host = f"[{address}]" if ":" in address else address
    try:
        answer = await client.get(f"http://{host}:{PORT}/metrics")
        families = text_string_to_metric_families(answer.raise_for_status().text)
        return tuple(
            Sample(one.name, one.labels, one.value) for family in families if family.name in wanted for one in family.samples
        )
    except (httpx2.HTTPError, ValueError):
        return None
