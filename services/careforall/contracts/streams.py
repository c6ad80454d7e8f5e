"""Every stream of the platform, once. Limits retention: a restarted broker must still know the message ids it saw."""

from careforall.kit.bus import Stream

ACCOUNTS = Stream(name="ACCOUNTS", subjects=("accounts.>",))
DONATIONS = Stream(name="DONATIONS", subjects=("donations.>", "campaigns.>"))
PAYMENTS = Stream(name="PAYMENTS", subjects=("payments.>",))
TOTALS = Stream(name="TOTALS", subjects=("totals.>",))
NOTIFICATIONS = Stream(name="NOTIFICATIONS", subjects=("notifications.>",))
CATALOG = Stream(name="CATALOG", subjects=("catalog.>",))
INVENTORY = Stream(name="INVENTORY", subjects=("inventory.>",))
PRICING = Stream(name="PRICING", subjects=("pricing.>",))
CARTS = Stream(name="CARTS", subjects=("carts.>",))
ORDERS = Stream(name="ORDERS", subjects=("orders.>", "checkout.>"))
SYNC = Stream(name="SYNC", subjects=("sync.>", "customer.>"))
AUDIT = Stream(name="AUDIT", subjects=("audit.>",))
ADVISORIES = Stream(name="ADVISORIES", subjects=("$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES.>",))

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
