"""Metrics of the totals service that the kit does not have."""

from prometheus_client import Gauge

DRIFT = Gauge(
    "careforall_totals_drift", "Campaigns whose counters differ from a recount, by what was recounted; zero is right", ["source"]
)
RAISED = Gauge("donation_raised_amount", "Money of completed gifts, gross, over all campaigns; never falls", ["currency"])
COMPLETED = Gauge("donation_completed_gifts", "Completed gifts over all campaigns; never falls", ["currency"])
STREAMS = Gauge("careforall_totals_streams", "Open live streams of this process")
VIEW_SECONDS = Gauge("careforall_totals_view_refresh_seconds", "Time the last refresh of a view took", ["view"])
