"""What the sync service counts."""

from prometheus_client import Counter, Gauge

CALLS = Counter("sync_calls_total", "Calls to targets by what came of them", ["target", "outcome"])
INBOUND = Counter("sync_inbound_events_total", "Events told by targets, by what became of them", ["target", "outcome"])
DEAD_DELIVERIES = Gauge("sync_dead_deliveries", "Changes given up on and not settled", ["target"])
POSTS = Counter("webhook_posts_total", "Posts to endpoints of integrators by what came of them", ["outcome"])
OLDEST_WAITING = Gauge("webhook_oldest_waiting_seconds", "Age of the oldest delivery that an enabled endpoint has not taken")
OVERDUE = Gauge("webhook_overdue_seconds", "For how long the most overdue delivery is due and nobody posts it")
DEAD_WEBHOOKS = Gauge("webhook_dead_deliveries", "Deliveries to endpoints that were given up on in the last 30 days")
DISABLED = Gauge(
    "webhook_disabled_endpoints", "Endpoints that hear nothing, by who said so (staff, gone: they answered 410)", ["reason"]
)
OLDEST_DELIVERY = Gauge("sync_oldest_delivery_seconds", "Age of the oldest change that waits to be carried", ["target"])
