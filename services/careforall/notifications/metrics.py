"""What the notifications service counts."""

from prometheus_client import Counter

SENDS = Counter("notifications_sent_total", "Messages by what became of a try", ["channel", "outcome"])
