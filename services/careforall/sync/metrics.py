"""What the sync service counts."""

from prometheus_client import Counter, Gauge

CALLS = Counter("sync_calls_total", "Calls to targets by what came of them", ["target", "outcome"])
INBOUND = Counter("sync_inbound_events_total", "Events told by targets, by what became of them", ["target", "outcome"])
DEAD_DELIVERIES = Gauge("sync_dead_deliveries", "Changes given up on and not settled", ["target"])
OLDEST_DELIVERY = Gauge("sync_oldest_delivery_seconds", "Age of the oldest change that waits to be carried", ["target"])
