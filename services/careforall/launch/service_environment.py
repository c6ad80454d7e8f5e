"""The environment the platform's own processes are given: addresses, ports and secrets of their instance."""

from __future__ import annotations

from collections.abc import Mapping

from careforall.launch.credentials import Credentials
from careforall.launch.ports import LOOPBACK
from careforall.launch.state import State

GENEROUS_LIMITS = {
    "CAREFORALL_RATE_EVERYONE": "1000000",
    "CAREFORALL_RATE_PER_ADDRESS": "1000000",
    "CAREFORALL_RATE_PER_KEY": "1000000",
    "CAREFORALL_PAYS_PER_MINUTE": "1000000",
}
"""On one's own machine everything comes from one address; the limits work all the same, only higher."""
ONE_MACHINE = {"CAREFORALL_COURTESY_SECONDS": "15"}
"""On one's own machine everything shares the cores: in a rush messages wait for requests, so long at most."""


def service_environment(
    inherited: Mapping[str, str], *, state: State, credentials: Credentials, process: str, first: str
) -> dict[str, str]:
    """Build the environment of one process.

    Args:
        inherited: the caller's environment; what is not set here reaches the services unchanged.
        state: ports and addresses.
        credentials: secrets.
        process: whose environment it is; each has its own ports, or two would share one and its requests.
        first: the process that serves the public port and the internal routes; the others answer probes only.
    """
    return {
        **GENEROUS_LIMITS,
        **ONE_MACHINE,
        **inherited,
        "CAREFORALL_POSTGRES_URL": state.dsn["postgres"],
        "CAREFORALL_NATS_URL": state.dsn["nats"],
        "CAREFORALL_REDIS_URL": state.dsn["redis"],
        "CAREFORALL_HOST": LOOPBACK,
        "CAREFORALL_PORT": str(state.port if process == first else state.internal_ports[process]),
        "CAREFORALL_INTERNAL_PORT": str(state.internal_ports[process] if process == first else 0),
        "CAREFORALL_INTERNAL_URL": f"http://{LOOPBACK}:{state.internal_ports[first]}",
        "CAREFORALL_PUBLIC_URL": f"http://{LOOPBACK}:{state.port}",
        "CAREFORALL_INSTANCE": state.instance,
        "CAREFORALL_ENVIRONMENT": "development",
        "CAREFORALL_SECRET_KEY": credentials.secret_key,
        "CAREFORALL_WEBHOOK_SECRETS": credentials.webhook_secret,
        "CAREFORALL_SIMULATOR_SECRETS": credentials.simulator_secret,
    }
