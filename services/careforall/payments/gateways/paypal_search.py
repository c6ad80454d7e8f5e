"""The transaction search, the nearest thing to a list of orders that PayPal has."""

from datetime import UTC, datetime

import msgspec

from careforall.payments.gateways.base import AnyName, GatewayObject, GatewayPage, Name
from careforall.payments.gateways.generic import read_time
from careforall.payments.gateways.paypal_objects import Money, names, told

_PAGE = 100
_PAYMENTS = "T00"
"""Codes of payments received begin so; refunds, holds and reversals have others."""


class _Transaction(msgspec.Struct, frozen=True):
    transaction_id: Name
    transaction_event_code: str = ""
    transaction_status: str = ""
    transaction_initiation_date: str = ""
    transaction_amount: Money = Money()
    paypal_reference_id: AnyName = ""
    paypal_reference_id_type: str = ""
    invoice_id: str = ""
    custom_field: str = ""


class _Row(msgspec.Struct, frozen=True):
    transaction_info: _Transaction


class Search(msgspec.Struct, frozen=True):
    """One page of the search."""

    transaction_details: list[_Row] = []
    total_pages: int = 1

    def page(self, number: int) -> GatewayPage:
        """Return the payments among the rows."""
        rows = [row.transaction_info for row in self.transaction_details]
        return GatewayPage(
            objects=tuple(_listed(row) for row in rows if row.transaction_event_code.startswith(_PAYMENTS)),
            next=str(number + 1) if number < self.total_pages else "",
        )


decode_search = msgspec.json.Decoder(Search).decode


def search_query(since: datetime, until: datetime, page: int) -> dict[str, str]:
    """Return what asks for a page of a time of 31 days at most."""
    return {
        "start_date": _stamp(since),
        "end_date": _stamp(until),
        "fields": "transaction_info",
        "page_size": str(_PAGE),
        "page": str(page),
    }


def _listed(row: _Transaction) -> GatewayObject:
    """Show a transaction; the order's id is known only where PayPal refers to it."""
    order_id = row.paypal_reference_id if row.paypal_reference_id_type == "ODR" else ""
    return GatewayObject(
        id=order_id or row.transaction_id,
        facts=(told("CAPTURED", order_id, row.transaction_amount),) if row.transaction_status == "S" else (),
        intent_id=names(row.custom_field, row.invoice_id)[0],
        created_at=read_time(row.transaction_initiation_date or None),
    )


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
