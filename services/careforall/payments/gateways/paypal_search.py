"""The lists PayPal has: the transaction search, the nearest thing to a list of orders, and the disputes by their last change."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import msgspec

from careforall.kit.ids import new_id
from careforall.payments.domain import RefundFact, RefundStatus
from careforall.payments.gateways.base import AnyName, GatewayObject, Name
from careforall.payments.gateways.generic import read_time
from careforall.payments.gateways.paypal_objects import Dispute, Link, Money, amount_of, dispute_fact, names, told

_PAGE, _DISPUTES_PAGE = 100, 50
_PAYMENTS = "T00"
"""Codes of payments received begin so; refunds, holds and reversals have others."""
_REFUND = "T1107"
_REFUND_STATES: Mapping[str, RefundStatus] = {"S": "SUCCEEDED", "P": "PENDING", "D": "FAILED", "V": "FAILED"}


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

    def payments(self) -> tuple[GatewayObject, ...]:
        """Return the payments among the rows."""
        return tuple(_listed(row) for row in self._rows() if row.transaction_event_code.startswith(_PAYMENTS))

    def refunds(self) -> tuple[GatewayObject, ...]:
        """Return the refunds among the rows, each as the payment it hangs on with that one fact."""
        return tuple(_refunded(row) for row in self._rows() if row.transaction_event_code == _REFUND)

    def next(self, number: int) -> str:
        """Return the number of the page after one; empty after the last."""
        return str(number + 1) if number < self.total_pages else ""

    def _rows(self) -> Sequence[_Transaction]:
        return [row.transaction_info for row in self.transaction_details]


class Disputes(msgspec.Struct, frozen=True):
    """One page of disputes."""

    items: list[Dispute] = []
    links: list[Link] = []

    @property
    def next(self) -> str:
        """What asks for the next page; empty after the last."""
        href = next((link.href for link in self.links if link.rel == "next"), "")
        return "".join(parse_qs(urlsplit(href).query).get("next_page_token", []))


decode_search = msgspec.json.Decoder(Search).decode
decode_disputes = msgspec.json.Decoder(Disputes).decode


def search_query(since: datetime, until: datetime, page: int) -> dict[str, str]:
    """Return what asks for a page of a time of 31 days at most."""
    return {
        "start_date": _stamp(since),
        "end_date": _stamp(until),
        "fields": "transaction_info",
        "page_size": str(_PAGE),
        "page": str(page),
    }


def disputes_query(since: datetime, until: datetime, token: str) -> dict[str, str]:
    """Return what asks for a page of the disputes that changed in a time."""
    asked = {"update_time_after": _stamp(since), "update_time_before": _stamp(until), "page_size": str(_DISPUTES_PAGE)}
    return {**asked, "next_page_token": token} if token else asked


def disputed(dispute: Dispute) -> GatewayObject:
    """Show a dispute as the payment it hangs on with that one fact; one of several payments names none."""
    intents = {names(one.custom, one.invoice_number)[0] for one in dispute.disputed_transactions}
    captures = [one.seller_transaction_id for one in dispute.disputed_transactions]
    fact = dispute_fact(dispute, "")
    return GatewayObject(
        id=captures[0] if len(captures) == 1 else dispute.dispute_id,
        facts=(fact,) if fact is not None else (),
        intent_id=intents.pop() if len(intents) == 1 else None,
        created_at=read_time(dispute.create_time or None),
    )


def _refunded(row: _Transaction) -> GatewayObject:
    gone = row.transaction_amount
    amount, currency = amount_of(Money(currency_code=gone.currency_code, value=gone.value.removeprefix("-")))
    intent_id, refund_id = names(row.custom_field, row.invoice_id)
    at = read_time(row.transaction_initiation_date or None)
    fact = RefundFact(
        gateway_refund_id=row.transaction_id,
        refund_id=refund_id or new_id(),
        amount=amount,
        currency=currency,
        status=_REFUND_STATES.get(row.transaction_status, "PENDING"),
        at=at,
    )
    return GatewayObject(id=row.paypal_reference_id or row.transaction_id, facts=(fact,), intent_id=intent_id, created_at=at)


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
