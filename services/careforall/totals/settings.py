"""Settings of the totals service."""

from careforall.kit.settings import Settings


class TotalsSettings(Settings, frozen=True, kw_only=True):
    """How long each level keeps a value, in seconds, and how much a process holds."""

    process_seconds: float = 1.0
    """Life of a value in the memory of a process."""
    redis_seconds: int = 300
    view_seconds: float = 300.0
    """Between two refreshes of the materialised view."""
    analytics_seconds: float = 3600.0
    """Between two refreshes of the views by day and by donor."""
    comparison_hours: float = 24.0
    """Between two comparisons of counters, view and base."""
    memory_campaigns: int = 5000
    """Campaigns whose last known totals a process remembers for the time its database is away."""
    warm_campaigns: int = 200
    """The most popular campaigns, put into Redis at start."""
    max_streams: int = 2000
    """Live streams per process; more are refused with 503."""
    stream_heartbeat: float = 15.0
    stream_poll: float = 2.0
    """Safety net of live streams: how often the counters are looked at in case a hint got lost."""
    observe_seconds: float = 15.0
    """How often what was raised is summed for the metrics."""
    default_currency: str = "EUR"
    """Shown with the zeros of a campaign that this service has not heard of yet."""
