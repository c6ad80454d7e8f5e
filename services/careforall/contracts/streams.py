"""Every stream of the platform, once. Limits retention: a restarted broker must still know the message ids it saw."""

from careforall.kit.bus import Stream

_QUIET = 512 * 1024**2
"""Bytes kept of streams that say little: the broker sets aside what all streams may hold, and a laptop has no 50 GB to spare."""

ACCOUNTS = Stream(name="ACCOUNTS", subjects=("accounts.>",), max_bytes=_QUIET)
DONATIONS = Stream(name="DONATIONS", subjects=("donations.>", "campaigns.>"))
PAYMENTS = Stream(name="PAYMENTS", subjects=("payments.>",))
TOTALS = Stream(name="TOTALS", subjects=("totals.>",), max_bytes=_QUIET)
NOTIFICATIONS = Stream(name="NOTIFICATIONS", subjects=("notifications.>",), max_bytes=_QUIET)
CATALOG = Stream(name="CATALOG", subjects=("catalog.>",), max_bytes=_QUIET)
INVENTORY = Stream(name="INVENTORY", subjects=("inventory.>",))
PRICING = Stream(name="PRICING", subjects=("pricing.>",), max_bytes=_QUIET)
CARTS = Stream(name="CARTS", subjects=("carts.>",))
ORDERS = Stream(name="ORDERS", subjects=("orders.>", "checkout.>"))
SYNC = Stream(name="SYNC", subjects=("sync.>", "customer.>"), max_bytes=_QUIET)
AUDIT = Stream(name="AUDIT", subjects=("audit.>",), max_bytes=_QUIET)
ADVISORIES = Stream(name="ADVISORIES", subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",), max_bytes=_QUIET)

ALL = (
    ACCOUNTS,
    DONATIONS,
    PAYMENTS,
    TOTALS,
    NOTIFICATIONS,
    SYNC,
    CATALOG,
    INVENTORY,
    PRICING,
    CARTS,
    ORDERS,
    AUDIT,
    ADVISORIES,
)
