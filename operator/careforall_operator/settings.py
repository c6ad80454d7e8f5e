"""What the process is told by its environment: `CAREFORALL_OPERATOR_<FIELD>`; the chart sets it up."""

from collections.abc import Mapping

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Where the operator works and how often it looks."""

    namespace: str = "default"
    """The namespace it works in, and no other."""
    nats_url: str = ""
    """Where the degraded flag is set; empty sets none."""
    nats_monitor_urls: str = ""
    """Monitoring addresses of all NATS servers, with commas, such as http://nats-0:8222; empty reads no lag."""
    secrets_folder: str = ""
    """A folder for each mounted Secret, a file for each key; a Secret that is not there is read through the API."""
    resync_seconds: float = 5.0
    """Between two looks at services and views when no event wakes it."""
    database_seconds: float = 1.0
    """Between two looks at the database when no event and no heartbeat wakes it."""
    heartbeat_seconds: float = 0.25
    """Between two heartbeats."""
    heartbeat_retry_seconds: float = 0.1
    """Between two heartbeats while none is taken: as exact as the end of an outage is known."""
    heartbeat_timeout_seconds: float = 2.0
    """A heartbeat that takes longer was not written."""
    forbidden_seconds: float = 30.0
    """Refused by the API server for so long, the process ends with status 1, so that somebody looks."""
    health_port: int = 8080
    """Port of /healthz."""
    metrics_port: int = 8081
    """Port of /metrics; 0 opens none."""
    log_level: str = "info"
    """debug, info, warning or error."""


class SettingsError(Exception):
    """A variable cannot be read; the message names it."""


def load(environment: Mapping[str, str]) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: Naming what is wrong.
    """
    values = {}
    for field in msgspec.structs.fields(Settings):
        if value := environment.get(f"CAREFORALL_OPERATOR_{field.name.upper()}"):
            values[field.name] = value
    try:
        return msgspec.convert(values, Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{error} (variables are CAREFORALL_OPERATOR_<FIELD>)") from error
