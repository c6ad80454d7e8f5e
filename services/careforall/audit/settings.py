"""Settings of the audit service."""

from careforall.kit.settings import Settings


class AuditSettings(Settings, frozen=True, kw_only=True):
    """How often the books are verified by the service itself."""

    verify_every: float = 60.0
    """Seconds between two runs of the continuous verification; 0 leaves it to the command line."""
    verify_slack: float = 300.0
    """Seconds that other services may take to follow up before it counts as a violation."""
