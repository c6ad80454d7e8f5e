"""The board for those who run the charity: gifts, what was raised, orders, sales."""

from __future__ import annotations

from careforall_testing.observability.panels import Board, Query, Row, graph, stat
from careforall_testing.observability.words import rate, share

_NONE_SO_FAR = "nobody did so far"
_PROCESSES_SAY_THE_SAME = "max by (currency) ({})"


def told(subject: str, *, window: str = "5m") -> str:
    """Return events of one kind a second."""
    return rate("events_published_total", f'subject="{subject}"', window=window)


def a_minute(expr: str) -> str:
    """Return a rate by the minute."""
    return f"60 * {expr}"


BUSINESS = Board(
    uid="careforall-business",
    title="Business",
    about="Gifts and orders as they come in. Money is told by currency and never added across currencies.",
    rows=(
        Row(
            "Gifts",
            (
                stat("Gifts a minute", a_minute(rate("donation_created_total"))),
                stat("Raised, gross", _PROCESSES_SAY_THE_SAME.format("donation_raised_amount"), width=5),
                stat("Raised in 24 h", _PROCESSES_SAY_THE_SAME.format("increase(donation_raised_amount[1d])"), width=5),
                stat("Completed gifts", _PROCESSES_SAY_THE_SAME.format("donation_completed_gifts"), width=5),
                stat(
                    "Conversion, 1 h",
                    share(told("donations.completed", window="1h"), told("donations.created", window="1h")),
                    unit="percentunit",
                    about="Gifts completed for each gift begun; a late payment counts when it comes.",
                    width=5,
                ),
                graph(
                    "Gifts a minute",
                    Query(a_minute(told("donations.created")), "begun"),
                    Query(a_minute(told("donations.completed")), "completed"),
                    Query(a_minute(told("donations.failed")), "failed", _NONE_SO_FAR),
                    Query(a_minute(told("donations.refunded")), "refunded", _NONE_SO_FAR),
                ),
                graph(
                    "Busiest campaigns",
                    Query(f"topk(10, {a_minute(rate('donation_created_total', by='campaign_id'))})", "{{campaign_id}}"),
                    about="Gifts a minute.",
                ),
                graph(
                    "Raised by the hour",
                    Query(_PROCESSES_SAY_THE_SAME.format("increase(donation_raised_amount[1h])"), "{{currency}}"),
                ),
            ),
        ),
        Row(
            "Orders",
            (
                stat("Orders a minute", a_minute(rate("orders_created_total"))),
                stat(
                    "Sales in 24 h",
                    _PROCESSES_SAY_THE_SAME.format("orders_sales_last_day"),
                    about="Paid orders less refunds.",
                    width=5,
                ),
                stat(
                    "Checkouts that become orders, 1 h",
                    share(told("orders.confirmed", window="1h"), told("checkout.initiated", window="1h")),
                    unit="percentunit",
                    width=5,
                    quiet="a shop may sell by direct orders alone",
                ),
                stat("Units held", "max(inventory_reserved_units)", width=5),
                stat("SKUs that run low", "max(inventory_low_stock_rows)", bad_above=1, width=5),
                graph(
                    "Orders a minute",
                    Query(a_minute(told("orders.created")), "placed"),
                    Query(a_minute(told("orders.confirmed")), "confirmed"),
                    Query(a_minute(told("orders.failed")), "failed", _NONE_SO_FAR),
                    Query(a_minute(told("orders.cancelled")), "cancelled", _NONE_SO_FAR),
                    Query(a_minute(told("orders.refunded")), "refunded", _NONE_SO_FAR),
                ),
                graph("Sales in 24 h", Query(_PROCESSES_SAY_THE_SAME.format("orders_sales_last_day"), "{{currency}}")),
                graph(
                    "Mails and messages",
                    Query(
                        a_minute(rate("notifications_sent_total", by="channel, outcome")),
                        "{{channel}} {{outcome}}",
                        "nobody was written to so far",
                    ),
                ),
            ),
        ),
    ),
)
