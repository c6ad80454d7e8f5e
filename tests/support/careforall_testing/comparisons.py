"""Comparisons with gateways that a new payments process makes by itself, which may find what a test has it asked for."""

from __future__ import annotations

from careforall_testing.callers import Callers
from careforall_testing.platform import Platform
from careforall_testing.polling import eventually


async def first_comparisons(running: Platform, callers: Callers, gateway: str) -> None:
    """Wait until the first comparisons with a gateway are over."""

    async def over() -> bool:
        answer = await running.client.get("/api/v1/payments/reconciliation", params={"gateway": gateway}, headers=callers.admin())
        return {run["kind"] for run in answer.json()["items"] if run["status"] == "FINISHED"} == {"HOURLY", "DAILY"}

    await eventually(over, within_s=60, what="the first comparisons of a new process")
