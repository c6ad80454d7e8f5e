"""Every stream of the platform, once. Limits retention: a restarted broker must still know the message ids it saw."""

from careforall.kit.bus import Stream

_GIB = 1024**3
"""What the streams of the shop may hold: a broker reserves it for all of them, and refuses the last ones on a small disk."""

ACCOUNTS = Stream(name="ACCOUNTS", subjects=("accounts.>",))
DONATIONS = Stream(name="DONATIONS", subjects=("donations.>", "campaigns.>"))
PAYMENTS = Stream(name="PAYMENTS", subjects=("payments.>",))
TOTALS = Stream(name="TOTALS", subjects=("totals.>",))
NOTIFICATIONS = Stream(name="NOTIFICATIONS", subjects=("notifications.>",))
CATALOG = Stream(name="CATALOG", subjects=("catalog.>",), max_bytes=_GIB)
INVENTORY = Stream(name="INVENTORY", subjects=("inventory.>",), max_bytes=_GIB)
PRICING = Stream(name="PRICING", subjects=("pricing.>",), max_bytes=_GIB)
CARTS = Stream(name="CARTS", subjects=("carts.>",), max_bytes=_GIB)
ORDERS = Stream(name="ORDERS", subjects=("orders.>", "checkout.>"), max_bytes=_GIB)
AUDIT = Stream(name="AUDIT", subjects=("audit.>",))
ADVISORIES = Stream(name="ADVISORIES", subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",), max_bytes=_GIB)

ALL = (ACCOUNTS, DONATIONS, PAYMENTS, TOTALS, NOTIFICATIONS, CATALOG, INVENTORY, PRICING, CARTS, ORDERS, AUDIT, ADVISORIES)
